"""Questions allotted over the whole dataset: totals, proportions, kinds, pieces; nothing depends on anything but the
seed."""

import random
from collections import Counter

import pytest

from dream.golden.allotment import (
    FILES_PER_BATCH,
    KINDS,
    MULTI_HOP_ABSTRACT,
    MULTI_HOP_SPECIFIC,
    PIECES_PER_QUESTION,
    PIECES_TO_COMBINE,
    QUESTIONS_PER_SHARE,
    SINGLE_HOP,
    Batch,
    FileText,
    allot,
    allot_again,
    allotment_notes,
    by_kind,
    pieces_in_order,
    spread,
)

SMALL = [FileText(f"{i:02}.txt", 450) for i in range(60)]


def some_files(rng: random.Random) -> list[FileText]:
    return [FileText(f"{i:03}.pdf", int(rng.lognormvariate(8, 2)) + 100) for i in range(rng.randint(1, 120))]


def questions_of(batches: list[Batch]) -> Counter[str]:
    return Counter({share.file: 0 for batch in batches for share in batch.shares}) + Counter(
        file for batch in batches for share in batch.shares for file in [share.file] * share.questions
    )


@pytest.mark.parametrize("seed", range(40))
def test_totals_proportions_and_kinds_whatever_the_files(seed: int):
    rng = random.Random(seed)
    files, n = some_files(rng), rng.randint(1, 200)
    batches = allot(files, n, seed)
    asked, total = questions_of(batches), sum(text.tokens for text in files)
    assert sum(asked.values()) == n == sum(batch.questions for batch in batches)
    for text in files:
        assert abs(asked[text.file] - n * text.tokens / total) < 1
    for batch in batches:
        assert batch.questions == sum(share.questions for share in batch.shares)
        assert 0 < len(batch.shares) <= FILES_PER_BATCH
        assert all(share.questions <= QUESTIONS_PER_SHARE for share in batch.shares)
        assert batch.pieces <= PIECES_PER_QUESTION * batch.questions
        assert batch.pieces > 1 or set(batch.kinds) == {SINGLE_HOP}
    kinds = by_kind(batch.kinds for batch in batches)
    if not allotment_notes(batches) and all(batch.pieces > 1 for batch in batches):
        assert max(abs(kinds.get(kind, 0) - n / 3) for kind in KINDS) < 1


@pytest.mark.parametrize(("n_files", "n"), [(30, 10), (90, 30), (90, 10), (3, 3), (9, 20), (500, 100)])
def test_all_kinds_are_asked_however_many_files_there_are(n_files: int, n: int):
    batches = allot([FileText(f"{i:03}.pdf", 3000) for i in range(n_files)], n, 0)
    kinds = by_kind(batch.kinds for batch in batches)
    assert sum(kinds.values()) == n
    assert max(kinds.values()) - min(kinds.get(kind, 0) for kind in KINDS) <= 1


def test_every_file_has_its_chance_and_the_seed_alone_decides():
    assert allot(SMALL, 10, 3) == allot(SMALL, 10, 3)
    times: Counter[str] = Counter()
    for seed in range(600):
        times.update(questions_of(allot(SMALL, 10, seed)))
    assert set(times) == {text.file for text in SMALL}
    assert sum(times.values()) == 6000
    assert all(60 < n < 145 for n in times.values())  # 100 are expected, with a standard deviation of 9


def test_chances_follow_the_text():
    files = [FileText("short.txt", 600), FileText("long.pdf", 5400)]
    times = sum((questions_of(allot(files, 1, seed)) for seed in range(600)), Counter())
    assert 30 < times["short.txt"] < 95  # 60 are expected


def test_a_long_document_is_sampled_and_its_parts_read_different_pieces():
    (batch,) = allot([FileText("report.pdf", 137 * 600)], 3, 0)
    assert batch.pieces == 3 * PIECES_PER_QUESTION
    shares = [share for batch in allot([FileText("report.pdf", 137 * 600)], 20, 0) for share in batch.shares]
    read = [i for share in shares for i in range(share.skip, share.skip + share.pieces)]
    assert len(shares) == 4
    assert len(set(read)) == len(read) == 20 * PIECES_PER_QUESTION


def test_a_single_piece_gives_no_multi_hop_question_and_it_is_told():
    batches = allot([FileText("note.txt", 300)], 3, 0)
    assert by_kind(batch.kinds for batch in batches) == {SINGLE_HOP: 3}
    assert allotment_notes(batches) == [
        "0 of 2 multi-hop questions: they combine pieces of about 600 tokens, of which the text has too few"
    ]
    assert allotment_notes(allot(SMALL, 10, 0)) == []


def test_many_questions_on_one_piece_read_it_once():
    batches = allot([FileText("note.txt", 300)], 20, 0)
    assert {batch.pieces for batch in batches} == {1}
    assert by_kind(batch.kinds for batch in batches) == {SINGLE_HOP: 20}


def test_missing_questions_go_to_text_that_was_not_read():
    used = {text.file: 1 for text in SMALL[:50]}
    missing = {MULTI_HOP_ABSTRACT: 2, SINGLE_HOP: 1}
    batches = allot_again(SMALL, missing, used, 0, 1)
    assert by_kind(batch.kinds for batch in batches) == missing
    assert {file for batch in batches for file in batch.asked} <= {text.file for text in SMALL[50:]}
    assert all(batch.pieces >= PIECES_TO_COMBINE for batch in batches)
    assert {batch.number for batch in batches}.isdisjoint({batch.number for batch in allot(SMALL, 10, 0)})


def test_if_all_text_was_read_it_is_read_again_from_other_places():
    long = FileText("long.pdf", 6000)
    (batch,) = allot_again([long], {MULTI_HOP_SPECIFIC: 1}, {"long.pdf": 10}, 0, 1)
    assert (batch.asked, batch.shares[0].skip) == (("long.pdf",), 10)


@pytest.mark.parametrize("total", [0, 1, 7, 100])
def test_spread_keeps_totals_and_gives_nothing_for_nothing(total: int):
    weights = [0, 5, 0.1, 3, 0]
    for seed in range(50):
        numbers = spread(total, weights, random.Random(seed))
        assert sum(numbers) == total
        assert numbers[0] == numbers[2 * 2] == 0
        assert all(abs(n - total * w / sum(weights)) < 1 for n, w in zip(numbers, weights, strict=True))
    assert spread(5, [0, 0], random.Random(0)) == [0, 0]


def test_the_order_of_pieces_is_a_permutation_that_the_seed_changes():
    orders = [pieces_in_order(20, "a.pdf", seed) for seed in (0, 1, 0)]
    assert all(sorted(order) == list(range(20)) for order in orders)
    assert orders[0] == orders[2] != orders[1]
