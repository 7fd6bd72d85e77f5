"""An experiment that version 0.1 wrote, with failures, baselines and repeats, is still read, shown and tracked.

The files in `version_0_1/` are as 0.1 wrote them, but for the paths and addresses of the machine.
"""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from dream.comparison import check_fairness, compare, leaderboard_of
from dream.errors import DataError
from dream.experiments import store
from dream.experiments.resume import finished_part, sound
from dream.experiments.spec import PreparedExperiment
from dream.experiments.store import latest_experiment, load_experiment
from dream.experiments.trial import TrialContext
from dream.models.planned_usage import plan_against_actual
from dream.records import ExperimentResult, FailureKind, Manifest, Source
from dream.records.manifest import FORMAT
from dream.reporting import report_html
from dream.settings import Settings
from dream.storage import open_storage
from dream.tables import question_table
from dream.tracking import track

KEPT = Path(__file__).with_name("version_0_1")


@pytest.fixture
def settings(home: Settings) -> Settings:
    """A home that holds the experiment."""
    shutil.copytree(KEPT, Path(home.experiments_uri) / "version-0.1")
    return home


@pytest.fixture
def experiment(settings: Settings) -> ExperimentResult:
    return load_experiment("version-0.1", settings)


def test_it_loads_with_everything_in_it(experiment: ExperimentResult):
    manifest = experiment.manifest
    assert manifest.metrics == ("answer_correctness", "context_recall", "answer_similarity")
    assert [trial.query_engine_identifier for trial in manifest.trials] == [
        "chunks_with_overlap",
        "hierarchical_automerging",
    ]
    assert [result.trial for result in experiment.results] == list(manifest.trials)
    assert [result.trial.query_engine_identifier for result in experiment.baselines] == ["closed_book", "oracle"]
    assert [question.sources for question in manifest.questions] == [
        (Source("organ.txt", "1"),),
        (Source("wells.txt", "1"), Source("organ.txt", "1")),
        (Source("wells.txt"),),
    ]
    assert (manifest.strictness, manifest.repeats.times, manifest.cluster.cpus) == (1, 2, 2)
    assert manifest.plan.n_trials == 2 and len(manifest.plan.calls) == 5
    assert sum(row.calls for row in experiment.usage if row.stage == "judge") == 38
    assert all(len(result.evaluation.repeats) == 2 for result in experiment.results)
    # the digest of 0.1 is still the digest, so experiments before and after can be compared
    assert (
        manifest.golden_dataset.digest == json.loads((KEPT / "manifest.json").read_text())["golden_dataset"]["digest"]
    )


def test_failures_that_were_texts_have_their_kinds(experiment: ExperimentResult):
    for result in experiment.results:
        answers = {answer.question_id: answer.failure for answer in result.answers if answer.failure}
        (too_long,) = answers.values()
        assert too_long.kind == FailureKind.REFUSED and too_long.kind.by_system
        assert "maximum context length is 16 tokens" in too_long.reason
        failed = [score for score in result.evaluation.scores if score.failure]
        assert [score.failure.kind for score in failed if score.question_id not in answers] == [
            FailureKind.UNREADABLE_JUDGEMENT
        ]
        assert {score.failure.kind for score in failed if score.question_id in answers} == {FailureKind.REFUSED}


@pytest.mark.whole
def test_it_compares_and_reports(experiment: ExperimentResult):
    comparison = compare(experiment, failure_share=0.5)
    assert len(comparison.ranked) == 2 and len(comparison.losses) == 2
    assert list(leaderboard_of(comparison, experiment)["scored"]) == ["3 of 3 (1 failed, scored 0)"] * 2
    html = report_html(experiment, comparison)
    assert "wells.txt, page 1; organ.txt, page 1" in html
    assert "maximum context length is 16 tokens" in html
    assert len(question_table(experiment.results[0], experiment.manifest)) == 3
    assert "answer" in set(plan_against_actual(experiment.manifest.plan, experiment.usage)["stage"])
    assert any("identical answers to every question" in warning for warning in check_fairness(experiment).warnings)


@pytest.mark.whole
@pytest.mark.usefixtures("home_with_mlflow")
def test_it_is_tracked_once(experiment: ExperimentResult, settings: Settings):
    run_id = track(experiment, settings)
    assert track(experiment, settings) == run_id
    from mlflow import MlflowClient

    client = MlflowClient(settings.mlflow_tracking_uri)
    runs = client.search_runs([client.get_experiment_by_name("dream").experiment_id])
    assert len(runs) == 3
    (parent,) = [run for run in runs if run.info.run_id == run_id]
    assert parent.data.params["n_questions"] == "3"
    logged = Manifest.from_json(json.loads(Path(client.download_artifacts(run_id, "manifest.json")).read_text()))
    assert logged == experiment.manifest


def test_its_finished_questions_are_not_asked_again(experiment: ExperimentResult, settings: Settings):
    manifest = experiment.manifest
    judge = (manifest.judge_llm, manifest.judge_embed_model)
    context = TrialContext((), manifest.golden_dataset, *judge, manifest.metrics, repeats=manifest.repeats)
    prepared = PreparedExperiment(manifest.trials, manifest.baselines, context, manifest.documents)
    storage = open_storage(settings.experiments_uri, settings)
    whole, partial = finished_part(storage, "version-0.1", prepared)
    assert list(whole) == [manifest.baselines[1].id]  # the oracle, which was not asked the question that failed
    assert {len(evaluation.answers) for evaluation in partial.values()} == {3}


SPOILT = {
    "an answer with thinking": ("answers", {"text": "<think>so</think>42 m"}),
    "an empty answer": ("answers", {"text": " "}),
    "a cut answer": ("answers", {"is_cut": True}),
    "a score that is no number": ("scores", {"value": float("nan")}),
}


@pytest.mark.parametrize("habit", SPOILT)
def test_what_a_bad_answer_spoilt_is_not_finished(habit: str, experiment: ExperimentResult):
    oracle = experiment.baselines[1].evaluation
    assert oracle is not None
    assert sound(oracle) == oracle
    part, change = SPOILT[habit]
    first, *others = getattr(oracle, part)
    spoilt = replace(oracle, **{part: (replace(first, **change), *others)})
    left = sound(spoilt)
    assert getattr(left, part) == tuple(others)
    lost = {score.question_id for score in oracle.scores} - {score.question_id for score in left.scores}
    assert lost == ({first.question_id} if part == "answers" else set())


def test_a_trial_with_a_spoilt_answer_is_resumed(experiment: ExperimentResult, settings: Settings):
    manifest = experiment.manifest
    oracle = experiment.baselines[1]
    assert oracle.evaluation is not None
    first, *others = oracle.evaluation.answers
    answers = (replace(first, text=f"<think>so</think>{first.text}"), *others)
    storage = open_storage(settings.experiments_uri, settings)
    store.save_result(storage, "version-0.1", replace(oracle, evaluation=replace(oracle.evaluation, answers=answers)))
    judge = (manifest.judge_llm, manifest.judge_embed_model)
    context = TrialContext((), manifest.golden_dataset, *judge, manifest.metrics, repeats=manifest.repeats)
    prepared = PreparedExperiment(manifest.trials, manifest.baselines, context, manifest.documents)
    whole, partial = finished_part(storage, "version-0.1", prepared)
    assert oracle.trial.id not in whole
    assert partial[oracle.trial.id].answers == tuple(others)


def test_a_resumed_one_is_written_in_todays_form_and_says_the_same(experiment: ExperimentResult, settings: Settings):
    storage = open_storage(settings.experiments_uri, settings)
    store.save_manifest(storage, "version-0.1", experiment.manifest)
    store.save_usage(storage, "version-0.1", experiment.usage)
    for result in (*experiment.results, *experiment.baselines):
        store.save_result(storage, "version-0.1", result)
    assert load_experiment("version-0.1", settings) == experiment


def test_fields_of_a_later_version_are_ignored_and_a_later_format_is_refused(settings: Settings):
    folder = Path(settings.experiments_uri)
    manifest = json.loads((KEPT / "manifest.json").read_text())
    with_more = {**manifest, "name": "more", "weather": {"looks": 3}, "format": FORMAT}
    with_more["trials"] = [{**trial, "seed": 1} for trial in manifest["trials"]]
    shutil.copytree(KEPT, folder / "more")
    (folder / "more/manifest.json").write_text(json.dumps(with_more))
    assert load_experiment("more", settings).manifest.trials == load_experiment("version-0.1", settings).manifest.trials
    (folder / "later").mkdir()
    later = {**manifest, "name": "later", "format": FORMAT + 1, "started": "2099-01-01T00:00:00+00:00"}
    (folder / "later/manifest.json").write_text(json.dumps(later))
    with pytest.raises(DataError, match=rf"'later' was written by a later version .*format {FORMAT + 1}"):
        load_experiment("later", settings)
    assert latest_experiment(settings) in ("version-0.1", "more")
