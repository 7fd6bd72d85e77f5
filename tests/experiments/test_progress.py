"""The facts that an experiment shows while it runs, and its patience with storage: in this process, without Ray."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from town import GOLDEN

from dream.engines.inbox import BlockFinished, TrialFinished
from dream.errors import StorageError
from dream.experiments import recorder as recorder_module, store
from dream.experiments.progress import TrialsProgress
from dream.experiments.recorder import Recorder
from dream.experiments.spec import PreparedExperiment, TrialContext
from dream.progress import Lines
from dream.records import (
    CLOSED_BOOK,
    Answer,
    DocumentSet,
    Evaluation,
    Failure,
    FailureKind,
    GoldenDataset,
    Manifest,
    Score,
    Trial,
    TrialResult,
    UsageRow,
)
from dream.settings import Settings
from dream.storage import LocalStorage

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


@pytest.fixture
def recorder(home: Settings, gateway, storage: Away, lines: list[str], monkeypatch: pytest.MonkeyPatch) -> Recorder:
    monkeypatch.setattr(recorder_module, "RETRY_SECONDS", 0.01)
    settings = replace(home, mlflow_tracking_uri=f"sqlite:///{home.home}/mlflow.db")
    manifest = Manifest("away", QUESTIONS, tuple(METRICS), PREPARED.trials)
    return Recorder(manifest, PREPARED, storage, settings, lines.append)


def test_a_recorder_shows_trials_and_at_the_end_the_state_of_all(recorder: Recorder, lines: list[str]):
    with recorder.progress.start():
        recorder.take([BlockFinished(SMALL.id, block(q0=0.5, q1=0.5)), BlockFinished(LARGE.id, block(q0=0.8))])
        recorder.take([TrialFinished(TrialResult(SMALL, block(q0=0.5, q1=0.5), 2.0))])
    assert lines[0] == "away: 2 trials x 3 questions"
    assert f"  trial 1 of 2: {SMALL.name}: done in 2.0 s" in lines
    assert " ".join(lines[-1].split()) == (
        "running trials: 3 of 9 questions in 0 s, trials 1 of 2, answer_correctness 0.600 (3 scored), 0.00 USD"
    )


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
