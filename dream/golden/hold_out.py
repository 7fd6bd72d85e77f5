"""Holds out the questions of some documents from a search, to confirm its choice with them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from dream.errors import ConfigurationError, bullets
from dream.records import GoldenDataset, GoldenQuestion, HoldOut, digest

# The minimum on each side; with fewer documents or questions, hardly any difference can be detected.
FEWEST_DOCUMENTS, FEWEST_QUESTIONS = 3, 5
_SHARES = [number / 20 for number in range(1, 20)]


def hold_out_of(asked: float | HoldOut | Mapping[str, Any] | None) -> HoldOut | None:
    """The checked hold-out; a mapping has the keys `share` and `seed`.

    Raises:
        ConfigurationError: naming every mistake.

    Example:
        >>> hold_out_of(0.25) == hold_out_of({"share": 0.25, "seed": 0}), hold_out_of(None)
        (True, None)
    """
    if asked is None or asked is False:
        return None
    if isinstance(asked, HoldOut):
        asked = {"share": asked.share, "seed": asked.seed}
    given: dict[str, Any] = dict(asked) if isinstance(asked, Mapping) else {"share": asked}
    share, seed = given.get("share"), given.get("seed", 0)
    problems = [f"there is no {key!r} here; valid: share, seed" for key in given if key not in ("share", "seed")]
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share < 1:
        problems.append(f"share={share!r}: give a share of the golden questions between 0 and 1, such as 0.25")
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        problems.append(f"seed={seed!r}: give a whole number of at least 0")
    if problems:
        raise ConfigurationError(bullets(f"hold_out={asked!r} cannot be used:", problems))
    return HoldOut(float(given["share"]), seed)


def split(golden: GoldenDataset, hold_out: HoldOut | None) -> tuple[GoldenDataset, HoldOut | None]:
    """The questions for the search, and the held-out ones: all questions of some documents, which the seed determines.
    The document of a question is that of its first source, as in comparisons; a question without a source, or in a
    dataset about a single document, counts as its own document.

    Raises:
        ConfigurationError: if either side would have too few documents or questions, with the shares that would be
            possible.
    """
    if hold_out is None:
        return golden, None
    held = _held(golden.questions, hold_out)
    if not _is_enough(golden.questions, held):
        raise ConfigurationError(_too_few(golden.questions, hold_out, held))
    out, kept = [], []
    for question in golden.questions:
        (out if question.id in held else kept).append(question)
    names = _documents(golden.questions)
    counts = (len({names[question.id] for question in part}) for part in (out, kept))
    return replace(golden, questions=tuple(kept)), HoldOut(
        hold_out.share, hold_out.seed, tuple(out), golden.digest, *counts
    )


def _documents(questions: Sequence[GoldenQuestion]) -> dict[str, str]:
    """The document of each question by its id."""
    several = len({question.document for question in questions}) > 1
    return {each.id: (each.document if several else "") or f" {each.id}" for each in questions}


def _held(questions: Sequence[GoldenQuestion], hold_out: HoldOut) -> set[str]:
    """The ids of the held-out questions: documents are added while this brings their number of questions closer to the
    share."""
    by_document: dict[str, list[str]] = {}
    for question_id, document in _documents(questions).items():
        by_document.setdefault(document, []).append(question_id)
    wanted, held = hold_out.share * len(questions), set[str]()
    for document in sorted(by_document, key=lambda name: digest([hold_out.seed, name])):
        more = len(held) + len(by_document[document])
        if abs(more - wanted) < abs(len(held) - wanted):
            held.update(by_document[document])
    return held


def _sizes(questions: Sequence[GoldenQuestion], held: set[str]) -> tuple[int, int, int, int]:
    """The numbers of held-out questions and documents, and of the others."""
    names = _documents(questions)
    out = [names[question.id] for question in questions if question.id in held]
    kept = [names[question.id] for question in questions if question.id not in held]
    return len(out), len(set(out)), len(kept), len(set(kept))


def _is_enough(questions: Sequence[GoldenQuestion], held: set[str]) -> bool:
    out, documents_out, kept, documents_kept = _sizes(questions, held)
    return min(out, kept) >= FEWEST_QUESTIONS and min(documents_out, documents_kept) >= FEWEST_DOCUMENTS


def _too_few(questions: Sequence[GoldenQuestion], hold_out: HoldOut, held: set[str]) -> str:
    out, documents_out, kept, documents_kept = _sizes(questions, held)
    possible = [share for share in _SHARES if _is_enough(questions, _held(questions, replace(hold_out, share=share)))]
    remedy = f"possible shares: {', '.join(f'{share:g}' for share in possible)}"
    if not possible:
        remedy = (
            f"no share of these {len(questions)} questions is possible: leave hold_out out, or use at least "
            f"{2 * FEWEST_QUESTIONS} questions from {2 * FEWEST_DOCUMENTS} documents with similar numbers of questions"
        )
    return (
        f"hold_out={hold_out.share:g} holds out {out} questions from {documents_out} documents and leaves {kept} from "
        f"{documents_kept} for the search; both need at least {FEWEST_QUESTIONS} questions from {FEWEST_DOCUMENTS} "
        f"documents, and questions of a document stay together; {remedy}"
    )
