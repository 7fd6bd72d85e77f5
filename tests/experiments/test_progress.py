"""The facts that an experiment shows while it runs, and its patience with storage: in this process, without Ray."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from town import GOLDEN

from dream.engines.inbox import BlockFinished, TrialFinished
from dream.errors import StorageError
from dream.experiments import recorder as recorder_module, store
from dream.experiments.progress import TrialsProgress
from dream.experiments.recorder import Recorder
from dream.experiments.spec import PreparedExperiment
from dream.experiments.trial import TrialContext
from dream.models.gateway_client import GatewayClient
from dream.progress import Lines, Reporter
from dream.records import (
    CLOSED_BOOK,
    Answer,
    DocumentSet,
    Evaluation,
    Failure,
    FailureKind,
    GoldenDataset,
    Manifest,
    Plan,
    Score,
    Trial,
    TrialResult,
    UsageRow,
)
from dream.settings import Settings
from dream.storage import LocalStorage
from dream.tracking.child import TrackingProcess
from dream.tracking.process import Reply, Request

QUESTIONS = GoldenDataset(tuple(GOLDEN[:3]))
IDS = [question.id for question in QUESTIONS.questions]
METRICS = ["answer_correctness", "faithfulness"]
SMALL, LARGE = (Trial("chunks_with_overlap", "llm@x", f"embed-{size}@x") for size in ("small", "large"))
BASELINE = Trial(CLOSED_BOOK, "llm@x", "")
PREPARED = PreparedExperiment(
    (SMALL, LARGE), (BASELINE,), TrialContext((), QUESTIONS, "judge@x", "embed-large@x", METRICS), DocumentSet()
)
PAID = [UsageRow("x", "llm", "answer", SMALL.id, usd=0.75), UsageRow("x", "judge", "judge", LARGE.id, usd=0.5)]
UNJUDGED = Failure(FailureKind.SERVICE, "no judgement")


class Clock:
    """A clock that moves on by a minute each time it is read."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 60
        return self.now


def block(**correctness: float | None) -> Evaluation:
    """Finished questions, named `q0` to `q2`, with their scores on the first metric; all are 1 on the second."""
    ids = {IDS[int(name[1:])]: value for name, value in correctness.items()}
    first = [Score(key, METRICS[0], value, failure=UNJUDGED if value is None else None) for key, value in ids.items()]
    second = [Score(key, METRICS[1], 1.0) for key in ids]
    return Evaluation(tuple(Answer(key, "An answer.") for key in ids), (*first, *second))


def shown(progress: TrialsProgress, lines: list[str], usage: list[UsageRow]) -> str:
    """The facts of the latest line, without times, as one line."""
    progress.show(usage)
    return re.sub(r" in [^,]+|, \d+ \w+ left", "", " ".join(lines[-1].split()))


def test_what_the_system_itself_failed_counts_0_and_what_the_judge_failed_is_missing():
    lines: list[str] = []
    progress = TrialsProgress(Lines(lines.append, 1, Clock()), PREPARED, {}, {})
    with progress.start():
        empty = Failure(FailureKind.EMPTY_ANSWER, "the answer is empty")
        scores = [Score(IDS[0], METRICS[0], 0.8), Score(IDS[1], METRICS[0], None, failure=empty)]
        scores.append(Score(IDS[2], METRICS[0], None, failure=UNJUDGED))
        progress.add_block(SMALL.id, Evaluation(tuple(Answer(key, "An answer.") for key in IDS), tuple(scores)))
        assert "answer_correctness 0.400 (2 scored)" in shown(progress, lines, [])


def test_the_mean_of_the_first_metric_and_what_was_paid_are_shown():
    lines: list[str] = []
    progress = TrialsProgress(Lines(lines.append, 1, Clock()), PREPARED, {}, {})
    with progress.start():
        assert (
            shown(progress, lines, [])
            == "running trials: 0 of 9 questions, trials 0 of 2, answer_correctness not scored yet, 0.00 USD"
        )
        progress.add_block(SMALL.id, block(q0=0.5, q1=None))
        assert shown(progress, lines, PAID[:1]) == (
            "running trials: 2 of 9 questions, trials 0 of 2, answer_correctness 0.500 (1 scored), 0.75 USD"
        )
        progress.add_block(LARGE.id, block(q0=1.0, q1=1.0, q2=0.5))
        progress.end_trial(TrialResult(LARGE))
        assert shown(progress, lines, PAID) == (
            "running trials: 5 of 9 questions, trials 1 of 2, answer_correctness 0.750 (4 scored), 1.25 USD"
        )
    assert max(len(line) for text in lines for line in text.splitlines()) <= 79


def test_baselines_count_as_questions_alone():
    lines: list[str] = []
    progress = TrialsProgress(Lines(lines.append, 1, Clock()), PREPARED, {}, {})
    with progress.start():
        progress.add_block(BASELINE.id, block(q0=0.0, q1=0.0, q2=0.0))
        progress.end_trial(TrialResult(BASELINE))
        assert (
            shown(progress, lines, PAID)
            == "running trials: 3 of 9 questions, trials 0 of 2, answer_correctness not scored yet, 1.25 USD"
        )


def test_an_unknown_price_makes_the_sum_unknown():
    lines: list[str] = []
    progress = TrialsProgress(Lines(lines.append, 1, Clock()), PREPARED, {}, {})
    with progress.start():
        usage = [*PAID, UsageRow("x", "own", "answer", usd=None)]
        assert shown(progress, lines, usage).endswith(", USD unknown")


def test_what_a_service_of_ones_own_costs_leaves_the_sum_of_the_models_known():
    lines: list[str] = []
    progress = TrialsProgress(Lines(lines.append, 1, Clock()), PREPARED, {}, {})
    with progress.start():
        assert shown(progress, lines, [*PAID, UsageRow("ours", "", "answer", usd=None)]).endswith(", 1.25 USD")


def test_a_resumed_experiment_shows_what_was_done_before_and_a_question_asked_again_once():
    lines: list[str] = []
    finished = {SMALL.id: TrialResult(SMALL, block(q0=0.25, q1=0.25, q2=0.25))}
    partial = {LARGE.id: block(q0=0.75)}
    progress = TrialsProgress(Lines(lines.append, 1, Clock()), PREPARED, finished, partial)
    with progress.start():
        assert shown(progress, lines, PAID) == (
            "running trials: 4 of 9 questions, trials 1 of 2, answer_correctness 0.375 (4 scored), 1.25 USD"
        )
        progress.add_block(LARGE.id, block(q0=0.25, q1=0.25, q2=0.25))
        assert shown(progress, lines, PAID).startswith(
            "running trials: 6 of 9 questions, trials 1 of 2, answer_correctness 0.250 (6 scored)"
        )


def plan_of(small: float | None, large: float | None) -> Plan:
    parts = {SMALL.id: small, LARGE.id: large, BASELINE.id: 0.5}
    usd = None if None in (small, large) else 3.5
    return Plan(2, 3, 1, 0, 10, (), usd, 1.0, usd_by_trial=parts)


def rows(progress: TrialsProgress) -> dict[str, list[str]]:
    """The cells of the table after the id, by the beginning of the name."""
    return {row.name.split(" ")[0] + row.name[-8:]: list(row.cells[1:]) for row in progress.table(10).rows}


def test_the_table_has_a_row_for_each_trial_and_baseline_with_what_is_to_come():
    progress = TrialsProgress(Reporter(), PREPARED, {}, {}, plan_of(1.0, 1.5))
    with progress.start():
        progress.start_trial(SMALL.id)
        progress.add_block(SMALL.id, block(q0=0.5, q1=None))
        progress.show([*PAID, UsageRow("x", "embed", "embed", usd=0.2)])
        small, large, baseline = (f"{name}" for name in rows(progress))
        assert rows(progress) == {
            small: ["running", "2/3", "0.500", "0.75", "0.25"],
            large: ["waiting", "0/3", "", "0.50", "1.00"],
            baseline: ["waiting", "0/3", "", "0.00", "0.50"],
        }
        assert progress.table(10).below[0] == "2 waiting, 1 running; 1.45 USD so far, 2.05 to come"
        progress.stopping([SMALL.id])
        assert rows(progress)[small][0] == "stopping"
        progress.end_trial(TrialResult(SMALL, failure=Failure(FailureKind.STOPPED, "stopped by hand")))
        progress.end_trial(TrialResult(LARGE, failure=Failure(FailureKind.EXCEPTION, "ValueError: no")))
        progress.end_trial(TrialResult(BASELINE, failure=Failure(FailureKind.BUDGET, "spent")))
        assert [row[0] for row in rows(progress).values()] == ["stopped", "failed", "not finished"]
        assert [row.note for row in progress.table(10).rows] == ["", "ValueError: no", "spent"]
        assert progress.table(10).below[0].endswith("; 1.45 USD so far, 0.00 to come")
    assert rows(progress)[baseline][-1] == ""


@pytest.mark.parametrize("plan", [None, plan_of(None, 1.0)])
def test_what_is_to_come_is_unknown_without_a_plan_or_a_price(plan: Plan | None):
    progress = TrialsProgress(Reporter(), PREPARED, {}, {}, plan)
    assert next(iter(rows(progress).values()))[-1] == "unknown"
    assert progress.table(10).below[0] == "3 waiting; 0.00 USD so far, unknown to come"


def test_a_trial_that_was_stopped_before_keeps_its_questions_and_asks_no_more():
    lines: list[str] = []
    stopped = TrialResult(SMALL, failure=Failure(FailureKind.STOPPED, "stopped by hand after 1 of 3 questions"))
    progress = TrialsProgress(Lines(lines.append, 1, Clock()), PREPARED, {SMALL.id: stopped}, {SMALL.id: block(q0=0.5)})
    with progress.start():
        assert shown(progress, lines, PAID).startswith("running trials: 1 of 7 questions, trials 1 of 2")
    assert progress.done_of(SMALL.id) == "1 of 3 questions"


class Away(LocalStorage):
    """A folder that refuses writes of finished questions `refusals` times."""

    refusals = 0

    def write_bytes(self, key: str, content: bytes, *, durable: bool = True) -> None:
        if "/blocks/" in key and self.refusals:
            self.refusals -= 1
            raise StorageError("nobody there")
        super().write_bytes(key, content, durable=durable)


@pytest.fixture
def storage(tmp_path: Path) -> Away:
    return Away(str(tmp_path / "experiments"))


@pytest.fixture
def lines() -> list[str]:
    return []


class NoMlflow(TrackingProcess):
    """Takes all that is sent and logs nothing: the process itself takes seconds of CPU to import MLflow."""

    def start(self) -> None:
        pass

    def send(self, request: Request) -> None:
        pass

    def replies(self) -> Iterator[Reply]:
        return iter(())


@pytest.fixture
def recorder(home: Settings, gateway, storage: Away, lines: list[str], monkeypatch: pytest.MonkeyPatch) -> Recorder:
    monkeypatch.setattr(recorder_module, "RETRY_SECONDS", 0.01)
    manifest = Manifest("away", QUESTIONS, tuple(METRICS), PREPARED.trials)
    show = Lines(lines.append, clock=lambda: 0.0)
    return Recorder(manifest, PREPARED, storage, home, show, tracking=NoMlflow())


def test_a_recorder_shows_trials_and_at_the_end_the_state_of_all(recorder: Recorder, lines: list[str]):
    with recorder.progress.start():
        recorder.take([BlockFinished(SMALL.id, block(q0=0.5, q1=0.5)), BlockFinished(LARGE.id, block(q0=0.8))])
        recorder.take([TrialFinished(TrialResult(SMALL, block(q0=0.5, q1=0.5), 2.0))])
    assert lines[0] == "away: 2 trials x 3 questions"
    assert f"  trial 1 of 2: {SMALL.name}: done in 2.0 s" in lines
    assert " ".join(lines[-1].split()) == (
        "running trials: 3 of 9 questions in 0 s, trials 1 of 2, answer_correctness 0.600 (3 scored), 0.00 USD"
    )


def test_the_gateways_metrics_say_how_far_the_experiment_is(recorder: Recorder, gateway: GatewayClient):
    recorder.take([BlockFinished(SMALL.id, block(q0=0.5, q1=0.5)), BlockFinished(LARGE.id, block(q0=0.8))])
    recorder.take([TrialFinished(TrialResult(SMALL, block(q0=0.5, q1=0.5), 2.0))])
    told = gateway.metrics().decode()
    assert 'dream_experiment_questions{experiment="away",state="planned"} 9.0' in told  # the baseline's too
    assert 'dream_experiment_questions{experiment="away",state="done"} 3.0' in told
    assert 'dream_experiment_trials{experiment="away",state="planned"} 2.0' in told
    assert 'dream_experiment_trials{experiment="away",state="done"} 1.0' in told
    assert 'dream_experiment_running{experiment="away"} 1.0' in told


def test_storage_that_is_away_for_a_moment_is_said_once_and_loses_nothing(
    recorder: Recorder, storage: Away, lines: list[str]
):
    storage.refusals = 3
    recorder.take([BlockFinished(SMALL.id, block(q0=0.5))])
    assert [line for line in lines if "storage" in line] == [
        "  cannot write to storage, retrying for up to 600 s: nobody there"
    ]
    assert store.load_blocks(storage, "away", SMALL.id) == block(q0=0.5)


def test_storage_that_stays_away_ends_the_experiment(
    recorder: Recorder, storage: Away, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(recorder_module, "PATIENCE_SECONDS", 0.05)
    storage.refusals = 10**9
    with pytest.raises(StorageError, match="nobody there"):
        recorder.take([BlockFinished(SMALL.id, block(q0=0.5))])
