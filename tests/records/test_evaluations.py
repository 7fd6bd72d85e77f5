"""Evaluations taken apart by question and joined again: what is whole is kept, and the rest is left out."""

from dataclasses import replace

from dream.records import Answer, Evaluation, Failure, FailureKind, Score
from dream.records.evaluations import by_question, joined

GONE = Failure(FailureKind.SERVICE, "gone")
METRICS = ("a", "b")


def question(question_id: str, *, text: str = "text", value: float = 1.0) -> Evaluation:
    """A question that is answered, scored on both metrics, and judged once more on the first."""
    scores = tuple(Score(question_id, metric, value) for metric in METRICS)
    return Evaluation((Answer(question_id, text),), scores, (replace(scores[0], repeat=1),))


def failed(score: Score) -> Score:
    return replace(score, value=None, failure=GONE)


def test_whole_questions_come_apart_and_together_again():
    first, second = question("q1"), question("q2", value=0.5)
    whole = joined([first, second])
    assert by_question(whole, METRICS) == [first, second]
    assert (len(whole.answers), len(whole.scores), len(whole.repeats)) == (2, 4, 2)
    assert joined([]) == Evaluation((), ())
    assert by_question(Evaluation((), ()), METRICS) == []


def test_a_question_that_lacks_its_answer_or_a_score_is_left_out():
    good = question("good")
    unanswered = replace(question("q1"), answers=(Answer("q1", None, failure=GONE),))
    unscored = question("q2")
    unscored = replace(unscored, scores=(unscored.scores[0], failed(unscored.scores[1])))
    half = replace(question("q3"), scores=question("q3").scores[:1])
    assert by_question(joined([unanswered, unscored, good, half]), METRICS) == [good]
    # on the first metric alone two of them are whole, and the scores on the other are not kept
    on_first = by_question(joined([unanswered, unscored, good, half]), METRICS[:1])
    assert [each.answers[0].question_id for each in on_first] == ["q2", "good", "q3"]
    assert [len(each.scores) for each in on_first] == [1, 1, 1]


def test_a_repeat_that_failed_is_left_out_and_its_question_is_not():
    whole = question("q1")
    broken = replace(whole, repeats=(failed(whole.repeats[0]), replace(whole.repeats[0], repeat=2)))
    assert by_question(broken, METRICS) == [replace(whole, repeats=(replace(whole.repeats[0], repeat=2),))]


def test_of_a_question_that_comes_twice_the_later_counts():
    earlier, later = question("q1", text="first", value=0.25), question("q1", text="second", value=0.75)
    assert by_question(joined([earlier, later]), METRICS) == [later]
