"""Questions that are held out: whole documents, by a seed, and never too few on either side."""

import pytest

from dream.errors import ConfigurationError
from dream.golden.hold_out import hold_out_of, split
from dream.records import GoldenDataset, GoldenQuestion, HoldOut, Source


def dataset(sizes: list[int], second: str = "") -> GoldenDataset:
    """So many questions of each document; `second` is a further document of every question."""
    more = (Source(second),) if second else ()
    return GoldenDataset(
        tuple(
            GoldenQuestion(f"{document}-{number}", "?", "!", sources=(Source(f"{document}.pdf"), *more))
            for document, size in enumerate(sizes)
            for number in range(size)
        )
    )


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("share", [0.2, 0.25, 0.5])
def test_documents_are_held_out_whole(seed: int, share: float):
    golden = dataset([2, 3, 4, 5, 6] * 4)
    kept, held = split(golden, HoldOut(share, seed))
    documents = [{question.document for question in part} for part in (kept.questions, held.questions)]
    assert not documents[0] & documents[1]
    assert sorted((*kept.questions, *held.questions), key=golden.questions.index) == list(golden.questions)
    assert abs(len(held.questions) - share * 80) <= 3  # half the largest document
    assert (held.n_searched, held.n_documents) == tuple(map(len, documents))
    assert held.whole_digest == golden.digest
    assert split(golden, HoldOut(share, seed)) == (kept, held)
    assert HoldOut.from_json(held.to_json()) == held


def test_another_seed_holds_out_other_documents():
    held = {split(dataset([4] * 12), HoldOut(0.25, seed))[1].questions for seed in range(6)}
    assert len(held) > 3


def test_a_question_about_several_documents_goes_with_its_first_as_in_comparisons():
    kept, held = split(dataset([2] * 12, second="glossary.pdf"), HoldOut(0.25))
    assert len(held.questions) == 6
    assert not {each.document for each in kept.questions} & {each.document for each in held.questions}


def test_questions_without_a_document_or_of_one_alone_stand_for_themselves():
    for golden in (dataset([20]), GoldenDataset(tuple(GoldenQuestion(str(n), "?", "!") for n in range(20)))):
        _, held = split(golden, HoldOut(0.25))
        assert (len(held.questions), held.n_documents, held.n_searched) == (5, 5, 15)


def test_shares_that_leave_too_few_are_refused_with_those_that_would_do():
    with pytest.raises(ConfigurationError, match="holds out 5 questions from 1 documents") as caught:
        split(dataset([5] * 10), HoldOut(0.1))
    assert "possible shares: 0.3, 0.35, 0.4" in str(caught.value) and "0.7" in str(caught.value)
    assert "0.8" not in str(caught.value)
    with pytest.raises(ConfigurationError, match="leaves 5 from 1 for the search"):
        split(dataset([5] * 10), HoldOut(0.9))
    with pytest.raises(ConfigurationError, match="no share of these 8 questions is possible"):
        split(dataset([2] * 4), HoldOut(0.5))
    with pytest.raises(ConfigurationError, match="no share of these 0 questions"):
        split(GoldenDataset(()), HoldOut(0.5))


@pytest.mark.parametrize(
    "asked", [0, 1, 1.5, -0.2, True, "some", float("nan"), {"seed": 1}, {"share": 0.2, "seed": -1}]
)
def test_what_is_no_share_is_refused(asked):
    with pytest.raises(ConfigurationError, match="cannot be used"):
        hold_out_of(asked)


def test_all_mistakes_are_told_at_once():
    with pytest.raises(ConfigurationError) as caught:
        hold_out_of({"share": 3, "seed": 0.5, "by": "page"})
    assert all(part in str(caught.value) for part in ("share=3", "seed=0.5", "no 'by' here; valid: share, seed"))


def test_nothing_is_held_out_unless_it_is_asked_for():
    golden = dataset([1] * 4)
    assert hold_out_of(None) is None and split(golden, None) == (golden, None)
