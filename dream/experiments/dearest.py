"""The most expensive trials that a search in rounds may choose, for a plan that is an upper bound."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from dream.rag.combinations import Combinations
from dream.rag.methods import RagMethod, index_request
from dream.rag.models_first import MOST_PAIRS, models_first_round, pair_of, with_pairs
from dream.rag.search import next_round
from dream.records import INCUMBENT, MODELS_FIRST, Search, Trial

# Up to this number, combinations are counted one by one; beyond it, each factor is counted separately.
COUNTED = 400
Price = tuple[float, float]


@dataclass(frozen=True)
class Dearest:
    """The maximum number of trials that a search may still choose, with the largest indexes, and a line that explains
    the estimate."""

    trials: tuple[Trial, ...]
    indexed: tuple[Trial, ...]
    note: str


def dearest(
    search: Search,
    chosen: Sequence[Trial],
    price: Callable[[Trial], Price],
    methods: Mapping[str, RagMethod] | None = None,
) -> Dearest:
    """The most expensive trials of a search in rounds, besides those that were already `chosen`. The first round is
    known before any result.

    Args:
        price: a function that returns the cost of a trial for sorting, such as (USD, calls).
        methods: the user's own RAG methods.
    """
    space = Combinations.from_json(search.space or {})
    first = () if chosen else next_round(search, ())
    chosen = (*chosen, *first)
    n = max(0, most_trials(search, space) - len(chosen))
    if first and not n:
        return Dearest(chosen, chosen, f"the {len(first)} trials of the search are known before any result")
    chosen_ids = {trial.id for trial in chosen}
    if search.combinations <= COUNTED:
        others = [trial for trial in space.listed() if trial.id not in chosen_ids]
        trials = sorted(others, key=price, reverse=True)[:n]
        how = f"the {len(trials)} most expensive of {len(others)} other combinations"
    else:
        others, trials = list(space.representatives()), [_by_factor(space, price)] * n
        how = f"{n} times the most expensive combination, estimated factor by factor"
    note = (
        f"an upper bound: {f'the {len(first)} trials of the first round, and ' if first else ''}{how}, with the "
        "indexes that embed most; the search decides later which trials run, so the calls per model may differ"
    )
    return Dearest((*chosen, *trials), (*chosen, *_indexed(others, n, methods)), note)


def most_trials(search: Search, space: Combinations) -> int:
    """The most trials that a search may choose."""
    most = min(search.trials or search.combinations, search.combinations)
    if search.by != MODELS_FIRST or not space.is_listed:
        return most
    first = models_first_round(space, replace(search, trials=None, rounds=()), ())
    tried = {trial.id for trial in first}
    pairs = {pair_of(trial) for trial in first if not trial.parameters.get(INCUMBENT)}
    later = [sum(trial.id not in tried for trial in with_pairs(space, [pair]).listed()) for pair in pairs]
    return min(most, len(first) + sum(sorted(later, reverse=True)[:MOST_PAIRS]))


def _by_factor(space: Combinations, price: Callable[[Trial], Price]) -> Trial:
    """The most expensive of the combinations with one factor at its most expensive value and all others at their
    first."""
    best = []
    for block in space.blocks:
        digits = [0] * len(block.factors)
        for factor, choices in enumerate(block.choices):
            tries = [[*digits[:factor], digit, *digits[factor + 1 :]] for digit in range(len(choices))]
            digits = max(tries, key=lambda each: price(block.trial(each)))
        best.append(block.trial(digits))
    return max(best, key=price)


def _indexed(trials: Sequence[Trial], n: int, methods: Mapping[str, RagMethod] | None) -> list[Trial]:
    """A trial for each of the `n` indexes that embed most, through more overlap or smaller chunks."""
    by_index = {}
    for trial in trials:
        if trial.embed_model_identifier:
            request = index_request(trial, methods)
            by_index[f"{request.chunker} {sorted(request.parameters.items())} {request.embed_model}"] = trial
    return sorted(by_index.values(), key=_repeated, reverse=True)[:n]


def _repeated(trial: Trial) -> tuple[float, float]:
    size, overlap = (trial.parameters.get(name) or 0 for name in ("chunk_size", "chunk_overlap"))
    return (size / (size - overlap) if size > overlap else 1.0), -float(size)
