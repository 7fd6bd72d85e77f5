"""Entailment by rules: a passage supports a statement with shared concepts, equal numbers and no contradiction."""

from collections.abc import Sequence
from dataclasses import dataclass

from dream.offline.text import Sentence, analyse_sentence
from dream.offline.words import opposites

NEEDED_COVERAGE = 0.6
NEEDED_COVERAGE_SHORT = 0.7
_SHORT = 4
_WINDOW = 2


@dataclass(frozen=True, slots=True)
class Support:
    """A verdict. `coverage` is the share of the statement's concepts and numbers that occur close together (0 to 1)."""

    holds: bool
    coverage: float
    reason: str


def support(statement: Sentence, passage: Sequence[Sentence], careful: bool = True) -> Support:
    """Judge one statement against an analysed passage.

    Args:
        statement: one analysed sentence.
        passage: analysed sentences, in order; two adjacent ones must support the statement.
        careful: False only checks for concepts anywhere in the passage, ignoring numbers and negation.
    """
    if not passage:
        return Support(False, 0.0, "There is no text to check it against.")
    if not careful:
        return _crude(statement, passage)
    verdicts = [_check(statement, window) for window in _best_windows(statement, passage)]
    return max(verdicts, key=lambda verdict: (verdict.coverage, verdict.holds))


def _crude(statement: Sentence, passage: Sequence[Sentence]) -> Support:
    everything = frozenset().union(*(sentence.bag for sentence in passage))
    coverage = _share(statement.bag, everything)
    return Support(coverage >= NEEDED_COVERAGE, coverage, f"{coverage:.0%} of its words occur in the text.")


def _share(wanted: frozenset[str], met: frozenset[str]) -> float:
    return len(wanted & met) / len(wanted) if wanted else 0.0


def _best_windows(statement: Sentence, passage: Sequence[Sentence], most: int = 3) -> list[Sequence[Sentence]]:
    """The runs of one or two consecutive sentences that share most with the statement."""
    wanted = statement.bag | statement.numbers
    hits = [
        len(wanted & sentence.bag) + (len(wanted & sentence.numbers) if sentence.numbers else 0) for sentence in passage
    ]
    runs = [(hits[position], -1, position) for position in range(len(passage))]
    runs += [(sum(hits[position : position + _WINDOW]), -_WINDOW, position) for position in range(len(passage) - 1)]
    best = sorted(runs, reverse=True)[:most]
    return [passage[position : position - size] for _, size, position in best]


def _check(statement: Sentence, window: Sequence[Sentence]) -> Support:
    bag = frozenset().union(*(sentence.bag | _heading_bag(sentence) for sentence in window))
    figures = frozenset().union(*(sentence.numbers for sentence in window))
    coverage = _share(statement.bag | statement.numbers, bag | figures)
    if missing := statement.numbers - figures:
        return Support(False, coverage, f"The text does not give {', '.join(sorted(missing))}.")
    if clash := _negation_clash(statement, window):
        return Support(False, coverage, f"One of the two denies {clash!r}, the other does not.")
    if clash := _antonym_clash(statement, bag):
        return Support(False, coverage, f"The text says the opposite of {clash!r}.")
    if coverage < (NEEDED_COVERAGE if len(statement.bag | statement.numbers) > _SHORT else NEEDED_COVERAGE_SHORT):
        return Support(False, coverage, f"Only {coverage:.0%} of its words are found together in the text.")
    return Support(True, coverage, f"The text says so: {_shortened(window[0].text)}")


def _heading_bag(sentence: Sentence) -> frozenset[str]:
    return analyse_sentence(sentence.heading).bag if sentence.heading else frozenset()


def _negation_clash(statement: Sentence, window: Sequence[Sentence]) -> str | None:
    closest = max(window, key=lambda sentence: len(statement.bag & sentence.bag))
    shared = statement.bag & closest.bag
    if statement.negated & closest.negated & shared:
        return None
    return min((statement.negated ^ closest.negated) & shared, default=None)


def _antonym_clash(statement: Sentence, bag: frozenset[str]) -> str | None:
    for root in statement.stems:
        if root not in bag and any(other in bag and other not in statement.bag for other in opposites(root)):
            return root
    return None


def _shortened(text: str, most: int = 100) -> str:
    return text if len(text) <= most else text[:most].rsplit(" ", 1)[0] + " ..."
