"""Closed-book and oracle: what they read, what is scored of them, and the split of the loss that they make possible."""

from dataclasses import replace

import numpy
import pytest
import simulated
from model_servers import Reply
from town import GOLDEN, evaluate, make_engine

from dream.comparison.comparison import compare, verdict_of
from dream.comparison.loss_split import losses_of
from dream.metrics import METRICS
from dream.models.pickers import llm_picker
from dream.rag.baselines import baseline_engine, baseline_trials, metrics_of, questions_of
from dream.records import (
    CLOSED_BOOK,
    ORACLE,
    Evaluation,
    ExperimentResult,
    Failure,
    FailureKind,
    Score,
    Trial,
    TrialResult,
)

WITH_CONTEXTS = [replace(question, reference_contexts=(question.ground_truth,)) for question in GOLDEN]
TRIALS = [Trial("sentence_window", llm, embed) for llm in ("a", "b") for embed in ("e", "f")]


def run_baseline(name, questions=WITH_CONTEXTS, **options):
    trial = Trial(name, "llm-large@relay", "")
    engine = baseline_engine(trial, llm_picker(trial.llm_identifier, trial=trial.id), questions)
    chosen = {"metrics": metrics_of(trial, METRICS), "needs_contexts": name != CLOSED_BOOK, "trial": trial.id}
    return trial, evaluate(engine, questions, **{**chosen, **options})


def test_there_is_one_pair_for_each_llm_and_its_ids_are_its_own():
    found = baseline_trials(TRIALS, WITH_CONTEXTS)
    assert [one.name for one in found] == ["closed_book + a", "oracle + a", "closed_book + b", "oracle + b"]
    assert len({one.id for one in [*found, *TRIALS]}) == 8
    assert all(Trial.from_config(one.config()) == one and one.is_baseline for one in found)


def test_the_oracle_is_not_asked_what_it_has_no_contexts_for():
    some = [*WITH_CONTEXTS[:2], *GOLDEN[2:]]
    closed_book, oracle = baseline_trials(TRIALS[:1], some)
    assert len(questions_of(closed_book, some)) == 6
    assert questions_of(oracle, some) == tuple(WITH_CONTEXTS[:2])
    assert [one.query_engine_identifier for one in baseline_trials(TRIALS[:1], GOLDEN)] == [CLOSED_BOOK]


def test_the_oracle_reads_exactly_the_reference_contexts_with_the_prompt_of_the_rag_methods(gateway, relay):
    evaluate(make_engine(), WITH_CONTEXTS[:1])
    retrieved = relay.requests[0].prompt
    relay.requests.clear()
    question = replace(WITH_CONTEXTS[0], reference_contexts=("One context of the mast.", "The north mast: 42 lamps."))
    _, evaluation = run_baseline(ORACLE, [question])
    read = relay.requests[0].prompt
    rule = "-" * 21
    assert read.split(rule)[1].split() == " ".join(question.reference_contexts).split()
    assert read.split(rule)[::2] == retrieved.split(rule)[::2]
    assert [passage.text for passage in evaluation.answers[0].contexts] == list(question.reference_contexts)


def test_the_closed_book_reads_the_question_alone(gateway, relay):
    trial, evaluation = run_baseline(CLOSED_BOOK)
    for question, answer in zip(WITH_CONTEXTS, evaluation.answers, strict=True):
        assert answer.error is None
        assert answer.contexts == ()
        assert answer.prompt_tokens
        assert sum(question.question in seen.text for seen in relay.requests) == 1
    assert not any(question.ground_truth in seen.text for question in GOLDEN for seen in relay.requests)
    rows = {(row.model, row.stage): row.calls for row in gateway.usage(trial.id)}
    assert rows["llm-large", "answer"] == 6
    assert rows["judge", "judge"] > 0


def test_only_metrics_that_make_sense_are_scored(gateway):
    scored = {name: {score.metric for score in run_baseline(name)[1].scores} for name in (CLOSED_BOOK, ORACLE)}
    assert scored[CLOSED_BOOK] == {"answer_relevancy", "answer_correctness", "answer_similarity"}
    assert scored[ORACLE] == scored[CLOSED_BOOK] | {"faithfulness"}
    assert metrics_of(TRIALS[0], METRICS) == METRICS


def test_a_baseline_that_fails_is_recorded_question_by_question(gateway, relay):
    relay.script = lambda seen: Reply(400, {}) if "otters sleep?" in seen.text else None
    _, evaluation = run_baseline(ORACLE)
    assert [bool(answer.error) for answer in evaluation.answers] == [False, True, False, False, False, False]


def test_the_offline_llm_knows_nothing_by_itself_and_the_oracle_is_right(gateway):
    results = [TrialResult(*run_baseline(name, metrics=("answer_correctness",))) for name in (CLOSED_BOOK, ORACLE)]
    closed_book, oracle = (result.evaluation.summaries()[0].mean for result in results)
    assert closed_book < 0.5 < 0.95 < oracle


def with_baselines(closed_book: float, oracle: float, retrieved: list[float]) -> ExperimentResult:
    """Twelve questions, constant scores: a trial for each of `retrieved`, all with the same LLM."""
    trials = [Trial("chunks_with_overlap", "a", f"e{place}") for place in range(len(retrieved))]
    scores = numpy.tile(numpy.array(retrieved), (12, 1))
    scores[0] -= 0.12  # so that trials and questions differ
    experiment = simulated.experiment({"answer_correctness": scores}, trials)
    baselines = []
    for name, value in ((CLOSED_BOOK, closed_book), (ORACLE, oracle)):
        rows = tuple(Score(f"q{i}", "answer_correctness", value) for i in range(12))
        baselines.append(TrialResult(Trial(name, "a", ""), Evaluation((), rows)))
    return replace(experiment, baselines=tuple(baselines))


def test_losses_are_split_for_each_trial_and_told_for_the_recommended():
    experiment = with_baselines(0.2, 0.9, [0.61, 0.41])
    losses, reasons = losses_of(experiment, "answer_correctness")
    assert reasons == ()
    assert [round(losses[result.trial.id].generation.mean, 6) for result in experiment.results] == [0.1, 0.1]
    assert [round(losses[result.trial.id].retrieval.mean, 6) for result in experiment.results] == [0.3, 0.5]
    found = compare(experiment)
    assert {one.trial.id for one in found.standings} == {result.trial.id for result in experiment.results}
    assert found.losses == losses
    text = verdict_of(found)
    assert f"{losses[found.best.trial.id].text}" in text
    assert "Retrieval makes 75% of the loss." in text


def test_a_comparison_is_the_same_with_and_without_baselines():
    experiment = with_baselines(0.95, 1.0, [0.61, 0.41])  # the closed-book answers are better than any trial's
    with_them, without = compare(experiment), compare(replace(experiment, baselines=()))
    assert with_them.standings == without.standings
    assert with_them.effects == without.effects
    assert with_them.recommendation == without.recommendation
    assert (without.losses, without.noise) == ({}, ())


def test_where_nothing_can_be_split_the_reason_is_told():
    experiment = with_baselines(0.2, 0.9, [0.61, 0.41])
    assert losses_of(replace(experiment, baselines=()), "answer_correctness")[1] == (
        "the loss on answer_correctness is not split: 'simulated' has no baselines: dream run --resume simulated "
        "--baselines",
    )
    failed = tuple(
        TrialResult(one.trial, failure=Failure(FailureKind.SERVICE, "the key was revoked"))
        for one in experiment.baselines
    )
    found = compare(replace(experiment, baselines=failed))
    assert found.losses == {}
    assert any("the baselines failed: the key was revoked" in note for note in found.notes)
    without_oracle = replace(experiment, baselines=experiment.baselines[:1])
    assert losses_of(without_oracle, "answer_correctness")[0] == {}
    assert "oracle 0" in losses_of(without_oracle, "answer_correctness")[1][0]


def test_repeats_are_told_beside_the_differences():
    random = numpy.random.default_rng(1)
    experiment = simulated.experiment({"answer_correctness": random.uniform(0.3, 0.7, (12, 2))})
    results = []
    for result in experiment.results:
        again = tuple(replace(score, repeat=1, value=score.value + 0.1) for score in result.evaluation.scores[:6])
        results.append(replace(result, evaluation=replace(result.evaluation, repeats=again)))
    found = compare(replace(experiment, results=tuple(results)))
    (noise,) = found.noise
    assert noise.judge == pytest.approx(0.005)
    assert (noise.n_questions, noise.n_trials, noise.repeats) == (6, 2, 2)
    assert f"the judge makes {noise.judge_share:.0%} of the variance of a paired difference" in verdict_of(found)
