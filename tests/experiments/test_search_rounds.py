"""Searches in rounds: what they run, tell and record; resumed and on another engine they choose the same."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from birds import PLACES, write_documents
from lab import environment_of
from model_servers import ModelServer

from dream.comparison.comparison import compare
from dream.errors import ConfigurationError
from dream.experiments.planning import plan
from dream.experiments.run import run_experiment
from dream.experiments.search_rounds import told_of
from dream.experiments.store import load_experiment, load_manifest
from dream.models.planned_usage import plan_against_actual
from dream.rag.search_space import SearchSpace
from dream.records import (
    Answer,
    Evaluation,
    ExperimentResult,
    Failure,
    FailureKind,
    GoldenDataset,
    GoldenQuestion,
    Manifest,
    Score,
    Search,
    Source,
    Trial,
    TrialResult,
)
from dream.reporting.figures import all_figures
from dream.reporting.html_page import Table
from dream.reporting.report import SECTIONS
from dream.reporting.searched import searched as searched_section, steps_of, why_it_ended
from dream.reporting.static_figures import save_static
from dream.settings import Budget, Settings
from dream.storage import open_storage

pytestmark = pytest.mark.usefixtures("mlflow_is_not_waited_for")

# 40 combinations; each question's evidence is in three of the files that are alike.
SPACE = SearchSpace(
    ["bm25"], ["llm-small@x"], ["embed-small@x"], {"bm25": {"top_k": [1, 2, 3, 4, 5],
                                                  "context_tokens": [*range(60, 140, 10)]}}
)  # fmt: skip
BIRDS = ("kestrel", "dunlin", "osprey", "curlew")
QUESTIONS = tuple(GoldenQuestion(bird, f"Where was the {bird} seen?", "By the old harbour at dawn.") for bird in BIRDS)
OPTIONS = {"golden_dataset": GoldenDataset(QUESTIONS), "metrics": ["token_f1"], "engine": "in_process"}
OPTUNA = {"by": "optuna", "trials": 17, "seed": 3}
# Of trials that are alike the cheapest is recommended, whichever engine is quicker with it.
PRICES = {f"{model}@x": {"input": price, "output": price} for model, price in (("llm-small", 1), ("llm-large", 5))}
# Two pairs of models and two systems; of one question for each file, half are held out.
MODELS_FIRST = {
    "search": {"by": "models_first"},
    "space": SearchSpace(["bm25"], ["llm-small@x", "llm-large@x"], ["embed-small@x"], {"bm25": {"top_k": [2, 3]}}),
    "golden_dataset": GoldenDataset(
        tuple(replace(each, id=f"{each.id}-{place}", sources=(Source(f"{each.id}-{place}.txt"),))
              for each in QUESTIONS for place in PLACES)
    ),
    "hold_out": 0.5,
}  # fmt: skip


def settings_in(home: str, models: ModelServer) -> Settings:
    prices = Path(home) / "prices.json"
    prices.write_text(json.dumps(PRICES), encoding="utf-8")
    environment = environment_of(home, models, "http://127.0.0.1:9")
    made = Settings.from_environment({**environment, "DREAM_PRICES": str(prices)})
    write_documents(made, BIRDS)
    return made


def run(settings: Settings, name: str, search, space=SPACE, show=None, **options) -> ExperimentResult:
    return run_experiment(space, name=name, settings=settings, show=show, search=search, **(OPTIONS | options))


@pytest.fixture(scope="module")
def home(_models: ModelServer, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return settings_in(str(tmp_path_factory.mktemp("birds")), _models.without_faults())


@pytest.fixture(scope="module")
def lines() -> list[str]:
    return []


@pytest.fixture(scope="module")
def searched(home: Settings, lines: list[str]) -> ExperimentResult:
    return run(home, "searched", OPTUNA, show=lines.append)


@pytest.mark.whole
def test_a_search_runs_its_trials_in_rounds(searched: ExperimentResult, home: Settings, lines: list[str]):
    manifest = searched.manifest
    assert (manifest.search.rounds, manifest.search.is_done) == ((10, 5, 2), True)
    assert [result.trial for result in searched.results] == list(manifest.trials)
    assert len({trial.id for trial in manifest.trials}) == 17
    assert all(result.error is None for result in searched.results)
    assert load_experiment("searched", home) == searched
    assert "searched: 17 trials x 4 questions" in lines
    assert "  round 2 of the search: 5 trials" in lines
    assert any(note.startswith("17 of 40 combinations were chosen") for note in compare(searched).notes)


@pytest.mark.whole
def test_report_and_mlflow_tell_of_the_rounds(searched: ExperimentResult, tmp_path):
    comparison = compare(searched)
    steps = steps_of(searched, comparison)
    assert [step.round for step in steps] == [1] * 10 + [2] * 5 + [3] * 2
    means = [summary.mean for result in searched.results for summary in result.evaluation.summaries()]
    assert [step.mean for step in steps] == pytest.approx(means)
    assert [step.best for step in steps] == pytest.approx([max(means[:n]) for n in range(1, 18)])
    assert sum(step.is_recommended for step in steps) == 1
    assert searched_section in SECTIONS
    section = searched_section(searched, comparison)
    facts, table, picture = section.parts
    assert facts.pairs["ended"] == "all 17 requested trials had been chosen"
    assert [row[:3] for row in table.rows] == [["1", "10", "0"], ["2", "5", "0"], ["3", "2", "0"]]
    assert picture.figure == all_figures(comparison, searched)["search"]
    assert save_static(picture.figure, tmp_path / "search.png").stat().st_size > 10_000


@pytest.mark.whole
def test_why_a_search_ended(searched: ExperimentResult):
    def ended(**changes) -> str:
        changed = replace(searched.manifest.search, **changes)
        return why_it_ended(replace(searched, manifest=replace(searched.manifest, search=changed)))

    assert ended(trials=50) == "the other combinations had been tried too: there are 17 in all"
    assert ended(by="models_first", trials=None).startswith("all systems had been tried with the models")
    assert ended(is_done=False).endswith("dream run --resume searched")
    budget = Failure(FailureKind.BUDGET, "the budget of 2 USD is spent")
    stopped = replace(
        searched, results=(*searched.results[:16], TrialResult(searched.results[16].trial, failure=budget))
    )
    assert why_it_ended(stopped) == "it was stopped: the budget of 2 USD is spent"
    steps = steps_of(stopped, compare(stopped))
    assert (len(steps), steps[16].mean, steps[16].best) == (17, None, steps[15].best)


@pytest.mark.whole
def test_a_killed_search_goes_on_as_it_would_have(searched: ExperimentResult, model_server, tmp_path):
    class Killed(Exception):
        pass

    def kill(line: str) -> None:
        if line.startswith("  trial 12 of 17"):
            raise Killed

    settings = settings_in(str(tmp_path), model_server)
    with pytest.raises(Killed):
        run(settings, "killed", OPTUNA, show=kill, max_concurrent_trials=1)
    stopped = load_manifest(open_storage(settings.experiments_uri, settings), "killed")
    assert (len(stopped.trials), stopped.search.rounds, stopped.search.is_done) == (15, (10, 5), False)
    resumed = run_experiment(resume="killed", settings=settings, show=None, engine="in_process")
    assert resumed.manifest.trials == searched.manifest.trials
    assert resumed.manifest.search == searched.manifest.search


@pytest.mark.whole
def test_a_budget_ends_a_search_that_can_be_resumed(searched: ExperimentResult, model_server: ModelServer, tmp_path):
    settings = settings_in(str(tmp_path), model_server)
    spent = run(replace(settings, budget=Budget(calls=10)), "poor", OPTUNA, max_concurrent_trials=1)
    assert spent.manifest.search.rounds == (10,) and not spent.manifest.search.is_done
    assert "stopped at budget: 10 of 10 calls" in why_it_ended(spent)
    resumed = run_experiment(resume="poor", settings=settings, show=None, engine="in_process")
    assert resumed.manifest.trials == searched.manifest.trials and resumed.manifest.search.is_done


@pytest.mark.whole
def test_a_done_search_is_not_run_again(searched: ExperimentResult, home: Settings, model_server: ModelServer):
    calls = model_server.chat_calls()
    again = run_experiment(SPACE, resume="searched", settings=home, show=None, search=OPTUNA, **OPTIONS)
    assert again.results == searched.results
    other = run(home, "other", OPTUNA)  # the cache answers
    assert other.manifest.trials == searched.manifest.trials
    assert model_server.chat_calls() - calls <= 2  # the check of the models
    with pytest.raises(ConfigurationError, match="the trials differ"):
        run_experiment(replace(SPACE, parameters={}), resume="searched", settings=home, show=None, **OPTIONS)
    with pytest.raises(ConfigurationError, match="the search differ"):
        run_experiment(resume="searched", settings=home, show=None, search={**OPTUNA, "seed": 4}, **OPTIONS)


@pytest.mark.whole
def test_the_plan_is_an_upper_bound(searched: ExperimentResult, home: Settings):
    planned = plan(
        SPACE, settings=home, search={**OPTUNA, "seed": 9}, **{k: OPTIONS[k] for k in ("golden_dataset", "metrics")}
    )
    assert planned.n_trials == 17
    assert "an upper bound: the 10 trials of the first round, and the 7 most expensive of 30 other" in planned.notes[0]
    rows = {row.stage: row for row in planned.calls}
    actual = [row for row in searched.usage if row.stage == "answer"]
    assert rows["answer"].calls == sum(row.calls for row in actual) == 17 * 4
    assert rows["answer"].tokens >= sum(row.tokens for row in actual)


@pytest.fixture(scope="module")
def models_first(home: Settings) -> ExperimentResult:
    return run(home, "models", **MODELS_FIRST)


@pytest.mark.whole
def test_models_first_tries_all_systems_with_the_best_models(models_first: ExperimentResult):
    search, trials = models_first.manifest.search, models_first.manifest.trials
    assert search.rounds[0] == 2 and {t.llm_identifier for t in trials[:2]} == {"llm-small@x", "llm-large@x"}
    assert {t.parameters["top_k"] for t in trials[:2]} == {3}  # the default
    assert (search.is_done, search.rounds, len(trials)) == (True, (2, 2), 4)
    calls = plan_against_actual(models_first.manifest.plan, models_first.usage).set_index("stage")
    assert (calls["planned calls"] >= calls["calls"]).all()
    assert calls.loc["answer", "planned calls"].sum() == calls.loc["answer", "calls"].sum() == 4 * 6


@pytest.mark.whole
def test_nsga2_is_told_of_quality_and_costs(home: Settings):
    outcome = run(home, "pareto", {"by": "nsga2", "trials": 8})
    assert outcome.manifest.search.rounds == (4, 4)
    assert {len(each.values) for each in told_of(outcome)} == {3}
    comparison = compare(outcome)
    section = searched_section(outcome, comparison)
    front = next(part for part in section.parts if isinstance(part, Table) and part.caption == "The Pareto front")
    assert [row[1] for row in front.rows] == [standing.name for standing in comparison.ranked if standing.on_front]


@pytest.mark.ray
@pytest.mark.skipif(os.environ.get("LONG_BAD_DAYS") != "1", reason="three runs of Ray Tune: LONG_BAD_DAYS=1")
def test_on_ray_a_search_and_its_confirmation_are_the_same(
    request: pytest.FixtureRequest, models_first: ExperimentResult, model_server: ModelServer, tmp_path
):
    """Answers and scores to the last digit, each engine with a home and a cache of its own."""
    request.getfixturevalue("on_ray")
    on_ray = run(settings_in(str(tmp_path), model_server), "on-ray", engine="ray", **MODELS_FIRST)
    assert on_ray.manifest.engine == "ray"
    assert on_ray.manifest.search == models_first.manifest.search
    assert on_ray.manifest.trials == models_first.manifest.trials
    assert len(on_ray.held_out) == len(models_first.held_out) == 2
    theirs, ours = ((*each.results, *each.held_out) for each in (on_ray, models_first))
    for result, other in zip(theirs, ours, strict=True):
        assert result.error is None and result.trial == other.trial
        assert result.evaluation.scores == other.evaluation.scores
        assert [answer.text for answer in result.answers] == [answer.text for answer in other.answers]
    assert compare(on_ray).confirmation == compare(models_first).confirmation


@pytest.mark.whole
def test_a_sift_of_trials_that_are_chosen_later_is_refused(home: Settings):
    with pytest.raises(ConfigurationError, match="a sift with a search by optuna"):
        run(home, "refused", OPTUNA, sift=True)


def test_an_outage_is_told_as_a_failure_and_an_empty_answer_as_0():
    outage, empty = Failure(FailureKind.SERVICE, "it is down"), Failure(FailureKind.EMPTY_ANSWER, "no text")

    def result(n: int, *scores: Score) -> TrialResult:
        answers = tuple(Answer(score.question_id, "text") for score in scores)
        return TrialResult(Trial("bm25", "llm", "", {"top_k": n}), Evaluation(answers, scores))

    def score(question: str, value: float | None, failure: Failure | None = None) -> Score:
        return Score(question, "token_f1", value, failure=failure)

    good = result(1, *(score(bird, 0.5) for bird in BIRDS))
    lost = result(2, *(score(bird, None, outage) for bird in BIRDS))
    half = result(3, *(score(bird, 0.8) for bird in BIRDS[:2]), *(score(bird, None, empty) for bird in BIRDS[2:]))
    dead = TrialResult(Trial("bm25", "llm", "", {"top_k": 4}), failure=outage)
    manifest = Manifest("x", GoldenDataset(QUESTIONS), ("token_f1",), search=Search("optuna", 5))
    told = told_of(ExperimentResult("x", manifest, (good, lost, half, dead)))
    assert [each.values for each in told] == [(0.5,), None, (0.4,), None]
