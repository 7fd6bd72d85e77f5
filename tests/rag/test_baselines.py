"""Closed-book and oracle: what they read, and what is scored of them."""

from dataclasses import replace

from model_servers import Reply
from town import GOLDEN, evaluate, make_engine

from dream.metrics import METRICS
from dream.models.pickers import llm_picker
from dream.rag.baselines import baseline_engine, baseline_trials, metrics_of, questions_of
from dream.records import CLOSED_BOOK, ORACLE, Trial, TrialResult

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
