"""The dearest trials that a search in rounds may choose, for a plan that is an upper bound."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from dream.rag.combinations import Combinations
from dream.rag.methods import RagMethod, index_request
from dream.rag.models_first import MOST_PAIRS, models_first_round, pair_of, with_pairs
from dream.rag.search import next_round
from dream.records import INCUMBENT, MODELS_FIRST, Search, Trial

# So many combinations are counted one by one; of more, each factor by itself.
COUNTED = 400
Price = tuple[float, float]


@dataclass(frozen=True)
class Dearest:
    """As many trials as a search may still choose, with those whose indexes are the largest, and a line that says how
    they were found."""

    trials: tuple[Trial, ...]
    indexed: tuple[Trial, ...]
    note: str


def dearest(
    search: Search,
    chosen: Sequence[Trial],
    price: Callable[[Trial], Price],
    methods: Mapping[str, RagMethod] | None = None,
) -> Dearest:
    """The dearest trials of a search in rounds, besides those that were `chosen` already; the first round is known
    before any result.

    Args:
        price: what is to be paid for a trial, such as USD and then calls.
        methods: those of the user's own.
    """
    space = Combinations.from_json(search.space or {})
    first = () if chosen else next_round(search, ())
    chosen = (*chosen, *first)
    n = max(0, most_trials(search, space) - len(chosen))
    if first and not n:
        return Dearest(chosen, chosen, f"the {len(first)} trials of the search are known before any result")
    known = {trial.id for trial in chosen}
    if search.combinations <= COUNTED:
        found = [trial for trial in space.listed() if trial.id not in known]
        trials = sorted(found, key=price, reverse=True)[:n]
        how = f"the dearest {len(trials)} of {len(found)} other combinations"
    else:
        found, trials = list(space.representatives()), [_by_factor(space, price)] * n
        how = f"{n} times the dearest combination, its factors taken one by one"
    note = (
        f"an upper bound: {f'the {len(first)} trials of the first round, and ' if first else ''}{how}, with the "
        "indexes that embed most; the search decides later which trials are run, so that calls of a single model may "
        "be other than these"
    )
    return Dearest((*chosen, *trials), (*chosen, *_indexed(found, n, methods)), note)


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
    """Of the combinations that have each factor at its dearest value, all others at their first, the dearest."""
    best = []
    for block in space.blocks:
        digits = [0] * len(block.factors)
        for factor, choices in enumerate(block.choices):
            tries = [[*digits[:factor], place, *digits[factor + 1 :]] for place in range(len(choices))]
            digits = max(tries, key=lambda each: price(block.trial(each)))
        best.append(block.trial(digits))
    return max(best, key=price)


def _indexed(trials: Sequence[Trial], n: int, methods: Mapping[str, RagMethod] | None) -> list[Trial]:
    """A trial for each of the `n` indexes that embed most: chunks that overlap more, and smaller ones."""
    found = {}
    for trial in trials:
        if trial.embed_model_identifier:
            request = index_request(trial, methods)
            found[f"{request.chunker} {sorted(request.parameters.items())} {request.embed_model}"] = trial
    return sorted(found.values(), key=_repeated, reverse=True)[:n]


def _repeated(trial: Trial) -> tuple[float, float]:
    size, overlap = (trial.parameters.get(name) or 0 for name in ("chunk_size", "chunk_overlap"))
    return (size / (size - overlap) if size > overlap else 1.0), -float(size)
