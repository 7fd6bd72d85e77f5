"""Answers that are judged several times: paid anew on purpose, once each, kept, and told apart as the judge's noise."""

from collections import Counter

import pytest
from model_servers import Reply, Seen, chat_reply
from town import GOLDEN, evaluate, make_engine

from dream.comparison.judge_noise import noise_of
from dream.records import ExperimentResult, GoldenDataset, Manifest, Repeats, Trial, TrialResult

SLICE = Repeats(3, (GOLDEN[0].id, GOLDEN[2].id, GOLDEN[5].id))
JUDGE = "judge@relay"


class MoodyJudge:
    """Attributes the one statement of an answer or not, by how often it was asked the same."""

    def __init__(self, moods: str = "101") -> None:
        self.moods, self.asked = moods, Counter[str]()

    def __call__(self, seen: Seen) -> Reply | None:
        if "attributed" not in seen.text:
            return None
        self.asked[seen.prompt] += 1
        mood = self.moods[(self.asked[seen.prompt] - 1) % len(self.moods)]
        if mood == "x":
            return Reply(400, {"error": {"message": "in no mood"}})
        return chat_reply({"classifications": [{"statement": "s", "reason": "r", "attributed": int(mood)}]})


@pytest.fixture
def engine(gateway):
    return make_engine()


def test_each_repeat_is_sent_once_and_only_for_the_slice(engine, relay):
    relay.script = judge = MoodyJudge()
    evaluation = evaluate(engine, judge_llm=JUDGE, repeats=SLICE)
    assert [score.value for score in evaluation.scores] == [1] * 6
    assert sorted(judge.asked.values()) == [1, 1, 1, 3, 3, 3]
    assert [(score.question_id, score.repeat) for score in evaluation.repeats] == [
        (question, repeat) for question in SLICE.question_ids for repeat in (1, 2)
    ]
    assert sum(score.value for score in evaluation.repeats) == 3  # of "1 0 1", the first 1 is in the scores
    assert sum("attributed" not in seen.text for seen in relay.requests) == 6  # nothing is answered a second time
    assert evaluation.summaries()[0].n_scored == 6


def test_repeats_that_are_known_are_not_judged_again_and_more_can_be_added(engine, relay):
    relay.script = judge = MoodyJudge()
    first = evaluate(engine, judge_llm=JUDGE, repeats=SLICE)
    asked = judge.asked.copy()
    relay.requests.clear()
    assert evaluate(engine, judge_llm=JUDGE, repeats=SLICE, known=first) == first
    assert relay.requests == []
    more = evaluate(engine, judge_llm=JUDGE, repeats=Repeats(4, SLICE.question_ids), known=first)
    assert sorted((judge.asked - asked).values()) == [1, 1, 1]
    assert (more.answers, more.scores) == (first.answers, first.scores)
    assert Counter(score.repeat for score in more.repeats) == {1: 3, 2: 3, 3: 3}


def test_a_repeat_that_fails_is_a_recorded_error_and_is_made_good_later(engine, relay):
    relay.script = MoodyJudge("1x1")
    first = evaluate(engine, judge_llm=JUDGE, repeats=SLICE, max_concurrency=1)
    failed = [score for score in first.repeats if score.error]
    assert {(score.repeat, score.value) for score in failed} <= {(1, None), (2, None)}
    assert len(failed) == 3
    assert all("in no mood" in score.error for score in failed)
    assert all(score.error is None for score in first.scores)
    relay.script = MoodyJudge("0")
    relay.requests.clear()
    again = evaluate(engine, judge_llm=JUDGE, repeats=SLICE, known=first)
    assert len(relay.requests) == 3
    assert [score.error for score in again.repeats] == [None] * 6


def test_blocks_carry_the_repeats(engine, relay):
    relay.script = MoodyJudge()
    blocks = []
    evaluation = evaluate(engine, judge_llm=JUDGE, repeats=SLICE, block_size=2, on_block=blocks.append)
    assert {score for block in blocks for score in block.repeats} == set(evaluation.repeats)


def test_what_is_computed_from_embeddings_is_not_repeated(engine):
    evaluation = evaluate(engine, metrics=("context_recall", "answer_similarity"), repeats=SLICE)
    assert {score.metric for score in evaluation.repeats} == {"context_recall"}
    assert all(score.value == 1 for score in evaluation.repeats)  # the offline judge has no moods


@pytest.mark.whole
def test_a_judge_of_moods_is_found_in_the_experiment_and_a_steady_one_is_not(engine, relay):
    moody, steady = (experiment_judged_by(engine, relay, script) for script in (MoodyJudge(), MoodyJudge("1")))
    (noise,), reasons = noise_of(moody)
    assert reasons == ()
    assert (noise.n_questions, noise.n_trials, round(noise.repeats, 6)) == (3, 2, 3)
    assert noise.judge == pytest.approx(1 / 3)  # the variance of 1, 0, 1 in each of the six cells
    assert noise.judge_share == 1
    assert noise_of(steady)[0][0].judge == 0


def experiment_judged_by(engine, relay, script) -> ExperimentResult:
    """Two trials with the same answers, each judged three times by a fresh judge of this kind."""
    results = []
    for place, llm in enumerate(("one", "two")):
        relay.script = type(script)(script.moods)
        # numbers that no other trial has used: equal requests of two trials are one request
        evaluation = evaluate(engine, judge_llm=JUDGE, repeats=SLICE, repeat=100 * place + 10 * len(script.moods))
        results.append(TrialResult(Trial("chunks_with_overlap", llm, "e"), evaluation))
    return judged_on(["context_recall"], results)


def judged_on(metrics: list[str], results: list[TrialResult]) -> ExperimentResult:
    return ExperimentResult("judged", Manifest("judged", GoldenDataset(tuple(GOLDEN)), tuple(metrics)), tuple(results))


def test_without_repeats_the_reason_is_told(engine):
    results = [TrialResult(Trial("chunks_with_overlap", "one", "e"), evaluate(engine))]
    found, reasons = noise_of(judged_on(["context_recall", "answer_similarity"], results))
    assert found == ()
    assert "an answer judged twice (--judge-repeats)" in reasons[0]
    assert "without a judge" in reasons[1]
