"""Confirmed on questions that the search never saw: who is asked them, what it costs, and that it is paid once."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
from lab import environment_of
from model_servers import ModelServer

from dream.comparison.comparison import compare
from dream.comparison.held_out import to_confirm
from dream.comparison.leaderboard_table import comparison_text, leaderboard_of
from dream.errors import ConfigurationError
from dream.experiments.planning import plan
from dream.experiments.run import run_experiment
from dream.experiments.store import load_experiment
from dream.models.planned_usage import plan_against_actual
from dream.rag.search_space import SearchSpace
from dream.records import Confirmation, ExperimentResult, GoldenDataset, GoldenQuestion, Source, Verdict
from dream.reporting import report_html
from dream.settings import Settings
from dream.storage import open_storage

pytestmark = [pytest.mark.whole, pytest.mark.usefixtures("mlflow_is_not_waited_for")]


BIRDS = ("kestrel", "dunlin", "osprey", "curlew", "plover", "avocet", "gannet", "fulmar", "petrel", "merlin")
GOLDEN = GoldenDataset(
    tuple(
        GoldenQuestion(f"{bird}-{number}", f"Where did the {bird} rest in year {number}?", "By the old harbour.",
                       sources=(Source(f"{bird}.txt"),))
        for bird in BIRDS
        for number in (1, 2)
    )
)  # fmt: skip
SPACE = SearchSpace(
    ["chunks_with_overlap"], ["llm-small@x"], ["embed-small@x"],
    {"chunks_with_overlap": {"top_k": [1, 2, 3], "temperature": [0, 0.5]}},
)  # fmt: skip


def settings_in(home: str, models: ModelServer) -> Settings:
    settings = Settings.from_environment(environment_of(home, models, "http://127.0.0.1:9"))
    storage = open_storage(settings.documents_uri, settings)
    storage.ensure()
    for bird in BIRDS:
        storage.write_bytes(f"{bird}.txt", f"A {bird} rested by the old harbour at dawn.".encode())
    return settings


def run(
    settings: Settings, name: str, on_line: Callable[[str], None] = lambda line: None, **options
) -> tuple[ExperimentResult, str]:
    lines: list[str] = []

    def show(line: str) -> None:
        lines.append(line)
        on_line(line)

    given = {"golden_dataset": GOLDEN, "metrics": ["faithfulness", "token_f1"], "engine": "in_process", "hold_out": 0.3}
    return run_experiment(SPACE, name=name, settings=settings, show=show, **given | options), "\n".join(lines)


@dataclass(frozen=True)
class Birds:
    settings: Settings
    outcome: ExperimentResult
    lines: str


@pytest.fixture(scope="module")
def birds(_models: ModelServer, tmp_path_factory: pytest.TempPathFactory) -> Birds:
    settings = settings_in(str(tmp_path_factory.mktemp("birds")), _models)
    _models.reset()
    outcome, lines = run(settings, "birds")
    return Birds(settings, outcome, lines)


def test_the_search_sees_only_what_is_not_held_out(birds: Birds):
    outcome = birds.outcome
    held = {question.id for question in outcome.manifest.hold_out.questions}
    assert len(held) == 6 and len({question_id.partition("-")[0] for question_id in held}) == 3
    assert {question.id for question in outcome.manifest.questions} == {each.id for each in GOLDEN.questions} - held
    for result in outcome.results:
        assert len(result.answers) == 14 and not {answer.question_id for answer in result.answers} & held


def test_only_the_chosen_trials_answer_what_was_held_out(birds: Birds):
    outcome = birds.outcome
    comparison = compare(outcome)
    chosen = to_confirm(comparison.standings, comparison.recommendation.trial)
    assert {result.trial.id for result in outcome.held_out} == {trial.id for trial in chosen.values()}
    assert len(outcome.held_out) == 2
    for result in outcome.held_out:
        assert {answer.question_id for answer in result.answers} == {
            question.id for question in outcome.manifest.hold_out.questions
        }
    assert comparison.confirmation.n_questions == 6 and comparison.confirmation.n_documents == 3


def test_plan_and_meter_agree(birds: Birds):
    table = plan_against_actual(birds.outcome.manifest.plan, birds.outcome.usage)
    counted = table[table["stage"] == "held out"].set_index("model")
    assert ((counted["planned calls"] - counted["calls"]).abs() <= 0.1 * counted["calls"]).all()
    assert counted.loc["llm-small@x", "calls"] == 2 * 6
    assert set(counted.index) == {"llm-small@x", "judge@x", "embed-small@x"}


def test_both_numbers_are_shown_and_kept(birds: Birds):
    comparison = compare(birds.outcome)
    confirmation = comparison.confirmation
    assert confirmation.text in birds.lines
    assert confirmation.text in comparison_text(comparison, leaderboard_of(comparison, birds.outcome))
    html = report_html(birds.outcome, comparison)
    assert "Does the choice hold on new questions?" in html and "runner-up" in html
    storage = open_storage(birds.settings.experiments_uri, birds.settings)
    kept = json.loads(storage.read_bytes("birds/confirmation.json"))
    assert Confirmation.from_json(kept) == confirmation
    loaded = load_experiment("birds", birds.settings)
    assert loaded.manifest == birds.outcome.manifest
    assert compare(loaded).confirmation == confirmation
    assert confirmation.verdict in Verdict


def test_the_same_again_pays_nothing(birds: Birds, model_server: ModelServer):
    again, lines = run(birds.settings, "again")
    assert model_server.counters()["by_path"] == {}
    assert "confirming" not in lines
    assert compare(again).confirmation == compare(birds.outcome).confirmation
    assert plan(SPACE, golden_dataset=GOLDEN, metrics=["faithfulness", "token_f1"], hold_out=0.3,
                settings=birds.settings).is_paid  # fmt: skip


class Killed(Exception):
    pass


def test_a_run_that_ends_before_the_confirmation_asks_only_that(model_server: ModelServer, tmp_path):
    settings = settings_in(str(tmp_path), model_server)
    seen = list[str]()

    def kill(line: str) -> None:
        seen.append(line)
        if "trial 6 of 6" in line:
            raise Killed

    with pytest.raises(Killed):
        run(settings, "birds", kill)
    assert not load_experiment("birds", settings).held_out
    resumed, _ = run(settings, "birds", resume="birds")
    assert len(resumed.held_out) == 2
    assert sum(row.calls for row in resumed.usage if row.stage == "answer") == 6 * 14
    assert sum(row.calls for row in resumed.usage if row.stage == "held out" and row.model == "llm-small") == 2 * 6
    again, _ = run(settings, "birds", resume="birds")
    assert again.usage == resumed.usage
    with pytest.raises(ConfigurationError, match="the held-out questions"):
        run(settings, "birds", resume="birds", hold_out=0.4)


def test_a_budget_that_ends_the_confirmation_leaves_the_rest_to_a_resumed_run(model_server: ModelServer, tmp_path):
    settings = settings_in(str(tmp_path), model_server)
    whole = plan(SPACE, golden_dataset=GOLDEN, metrics=["token_f1"], hold_out=0.3, settings=settings)
    calls = sum(row.calls for row in whole.calls)
    halted, _ = run(
        replace(settings, budget=replace(settings.budget, calls=calls)), "birds", metrics=["token_f1"], hold_out=0.3
    )
    spent = sum(row.sent for row in halted.usage)
    assert halted.held_out or halted.stopped
    resumed, _ = run(settings, "birds", resume="birds", metrics=["token_f1"])
    assert not resumed.stopped and len(resumed.held_out) == 2
    assert sum(row.sent for row in resumed.usage) >= spent
