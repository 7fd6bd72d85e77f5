"""Races: which trials leave, what they are asked until then, and that a race goes on where it was.

Each question's evidence is in three files. Search by words finds as many of them as `top_k` says.
"""

import json
import os
from dataclasses import replace

import pytest
from birds import PLACES, write_documents
from lab import Lab, environment_of
from model_servers import ModelServer

from dream import stop_trial
from dream.comparison.comparison import compare
from dream.comparison.leaderboard_table import comparison_text, leaderboard_of
from dream.errors import ConfigurationError
from dream.experiments import stopping
from dream.experiments.planning import plan
from dream.experiments.racing import race_of, race_options
from dream.experiments.run import run_experiment
from dream.experiments.store import load_experiment
from dream.rag.search_space import SearchSpace
from dream.records import ExperimentResult, GoldenDataset, GoldenQuestion, Objective, Source, TrialResult
from dream.reporting import report_html
from dream.settings import Settings

pytestmark = [pytest.mark.whole, pytest.mark.usefixtures("mlflow_is_not_waited_for")]

N = 50
BIRDS = tuple(f"bird{number}bird" for number in range(N))
GOLDEN = GoldenDataset(
    tuple(
        GoldenQuestion(bird, f"Where was {bird} seen?", "At all.",
                       sources=tuple(Source(f"{bird}-{place}.txt") for place in PLACES))
        for bird in BIRDS
    )
)  # fmt: skip
WORDS = SearchSpace(["bm25"], ["llm-small@x"], ["embed-small@x"], {"bm25": {"top_k": [1, 3], "temperature": [0, 0.5]}})


@pytest.fixture
def settings(model_server: ModelServer, tmp_path) -> Settings:
    made = Settings.from_environment(environment_of(tmp_path, model_server, "http://127.0.0.1:9"))
    write_documents(made, BIRDS)
    return made


def run(settings: Settings, name: str, space=WORDS, **options) -> tuple[ExperimentResult, str]:
    lines: list[str] = []
    given = {"golden_dataset": GOLDEN, "metrics": ["recall"], "race": True, "engine": "in_process", **options}
    return run_experiment(space, name=name, settings=settings, **{"show": lines.append, **given}), "\n".join(lines)


def test_trials_that_are_shown_to_be_worse_leave(settings: Settings):
    outcome, lines = run(settings, "birds")
    assert "left the race after 20 of 50 questions, worse by 0.667 [" in lines
    race, everything = outcome.manifest.race, WORDS.trials()
    worse = [trial.id for trial in everything if trial.parameters["top_k"] == 1]
    assert [look.questions for look in race.looks] == [20, 40]
    assert [look.is_done for look in race.looks] == [True, True]
    assert [each.trial_id for each in race.looks[0].left] == worse
    assert [each.difference for each in race.looks[0].left] == pytest.approx([-2 / 3] * 2)
    assert all(each.low <= each.difference <= each.high < 0 for each in race.looks[0].left)
    results = {result.trial.id: result for result in outcome.results}
    assert [trial_id for trial_id, result in results.items() if result.left_race] == worse
    assert all(len(result.answers) == N for result in results.values() if not result.left_race)
    assert all("left the race after 20 of 50 questions, worse by" in results[each].error for each in worse)
    assert not any(result.has_failed for result in outcome.results)
    answers = sum(row.sent for row in outcome.usage if row.stage == "answer")
    assert answers == 2 * N + 2 * 20
    assert load_experiment("birds", settings) == outcome

    comparison = compare(outcome)
    assert comparison.confidence == pytest.approx(0.975)
    assert [each.trial.parameters["top_k"] for each in comparison.ranked] == [3, 3]
    text = comparison_text(comparison, leaderboard_of(comparison, outcome))
    assert "left the race after 20 of 50" in text and "A race by recall" in text
    page = report_html(outcome)
    assert "left the race after 20 of 50" in page and "Trials that left the race" in page


@pytest.mark.parametrize("calls", [50, 110])  # before and after the first look
def test_a_race_goes_on_where_a_budget_ended_it(settings: Settings, calls: int):
    halted, _ = run(replace(settings, budget=replace(settings.budget, calls=calls)), "birds")
    assert halted.stopped
    assert [look.is_done for look in halted.manifest.race.looks] == [calls > 100, False]
    resumed, _ = run(settings, "birds", resume="birds")
    race = resumed.manifest.race
    assert [(look.is_done, len(look.left)) for look in race.looks] == [(True, 2), (True, 0)]
    assert [(result.left_race, len(result.answers)) for result in resumed.results] == [
        *[(True, 0)] * 2,
        *[(False, N)] * 2,
    ]
    assert sum(row.sent for row in resumed.usage if row.stage == "answer") == 2 * N + 2 * 20
    with pytest.raises(ConfigurationError, match="the looks or the error of the race"):
        run(settings, "birds", resume="birds", race={"first": 30})
    again, _ = run(settings, "birds", resume="birds")
    assert again.results == resumed.results


def test_results_of_an_earlier_experiment_are_compared_with(settings: Settings):
    metrics = ["recall", "faithfulness"]  # with a judge, whose answers are in the cache
    run(settings, "birds", metrics=metrics)
    again, _ = run(settings, "again", metrics=metrics)
    assert [bool(result.taken_from) for result in again.results] == [False, False, True, True]
    assert [result.left_race for result in again.results] == [True, True, False, False]
    assert not any(row.sent for row in again.usage if row.stage != "check")


def test_held_out_questions_are_not_raced(settings: Settings):
    outcome, _ = run(settings, "birds", hold_out=0.2)
    held_out = {question.id for question in outcome.manifest.hold_out.questions}
    assert len(held_out) == 10 and not held_out & set(outcome.manifest.race.order)
    assert compare(outcome).confirmation is not None


def test_a_race_follows_a_sift(settings: Settings):
    outcome, _ = run(settings, "birds", sift=True)
    assert [trial.parameters["top_k"] for trial in outcome.manifest.sift.left_out] == [1, 1]
    assert [(look.is_done, look.left) for look in outcome.manifest.race.looks] == [(True, ())] * 2
    assert [len(result.answers) for result in outcome.results] == [N, N]


def test_a_trial_is_stopped_by_hand_during_a_race(settings: Settings, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(stopping, "LOOK_SECONDS", 0.0)
    last = WORDS.trials()[-1].id
    lines: list[str] = []

    def show(line: str) -> None:
        if "left the race" in line and "left the race" not in "".join(lines):
            stop_trial("birds", last, settings=settings)
        lines.append(line)

    outcome, _ = run(settings, "birds", show=show)
    assert [(result.left_race, result.stopped_by_hand) for result in outcome.results] == [
        *[(True, False)] * 2,
        (False, False),
        (False, True),
    ]
    assert [look.is_done for look in outcome.manifest.race.looks] == [True, True]
    assert len(outcome.results[2].answers) == N
    assert [each.rank for each in compare(outcome).standings] == [1, None, None, None]


def test_the_plan_says_what_a_race_may_save(settings: Settings):
    planned = str(plan(WORDS, golden_dataset=GOLDEN, metrics=["recall"], race=True, settings=settings))
    assert "race by recall: 2 look(s), after 20, 40 of 50 questions" in planned
    assert "between nothing (no trial is shown to be worse) and 45%" in planned


def test_a_race_that_cannot_work_is_refused():
    with pytest.raises(ConfigurationError, match=r"12 questions of 12 document.s. allow no look"):
        race_of(True, GOLDEN.questions[:12], ["recall"], Objective())
    with pytest.raises(ConfigurationError, match=r"unknown key 'blocks'(.|\n)*first=0(.|\n)*error=0.5"):
        race_options({"blocks": 3, "first": 0, "error": 0.5})


def test_a_search_in_rounds_has_no_race(settings: Settings):
    with pytest.raises(ConfigurationError, match="a race with a search by optuna"):
        run(settings, "birds", search={"by": "optuna", "trials": 3})


def test_the_record_comes_back_from_json():
    race = race_of({"first": 10, "seed": 3}, GOLDEN.questions, ["recall"], Objective())
    assert type(race).from_json(json.loads(json.dumps(race.to_json()))) == race


@pytest.mark.ray
@pytest.mark.skipif(os.environ.get("LONG_BAD_DAYS") != "1", reason="three runs of Ray Tune: LONG_BAD_DAYS=1")
def test_both_engines_race_alike(request: pytest.FixtureRequest, tmp_path):
    request.getfixturevalue("on_ray")
    lab: Lab = request.getfixturevalue("ray_lab")
    settings = lab.changed(**{f"DREAM_{name}_URI": str(tmp_path / name) for name in ("DOCUMENTS", "EXPERIMENTS")})
    write_documents(settings, BIRDS)
    on_ray, lines = run(settings, "on-ray", engine="ray")
    here, _ = run(replace(settings, experiments_uri=str(tmp_path / "elsewhere")), "here")
    assert "engine: ray" in lines
    assert on_ray.manifest.race == here.manifest.race
    assert len(here.manifest.race.left) == 2
    assert [scores_of(result) for result in on_ray.results] == [scores_of(result) for result in here.results]


def scores_of(result: TrialResult) -> list[tuple[str, str, float | None]]:
    scores = result.evaluation.scores if result.evaluation else ()
    return [(score.question_id, score.metric, score.value) for score in scores]
