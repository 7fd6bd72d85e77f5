"""The dearest trials that a search in rounds may choose, for a plan that is an upper bound."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dream.rag.combinations import Combinations
from dream.rag.methods import index_request
from dream.rag.models_first import MOST_PAIRS
from dream.rag.search import next_round
from dream.records import MODELS_FIRST, Search, Trial

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


def dearest(search: Search, chosen: Sequence[Trial], price: Callable[[Trial], Price]) -> Dearest:
    """The dearest trials of a search in rounds, besides those that were `chosen` already.

    Args:
        price: what is to be paid for a trial, such as USD and then calls.
    """
    space = Combinations.from_json(search.space or {})
    n = max(0, most_trials(search, space) - len(chosen))
    known = {trial.id for trial in chosen}
    if search.combinations <= COUNTED:
        found = [trial for trial in space.listed() if trial.id not in known]
        trials = sorted(found, key=price, reverse=True)[:n]
        how = f"the dearest {len(trials)} of {len(found)} combinations"
    else:
        found, trials = list(space.representatives()), [_by_factor(space, price)] * n
        how = f"{n} times the dearest combination, its factors taken one by one"
    note = (
        f"an upper bound: {how}, with the indexes that embed most; the search decides later which trials are run, so "
        "that calls of a single model may be other than these"
    )
    return Dearest((*chosen, *trials), (*chosen, *_indexed(found, n)), note)


def most_trials(search: Search, space: Combinations) -> int:
    """The most trials that a search may choose."""
    most = min(search.trials or search.combinations, search.combinations)
    if search.by != MODELS_FIRST or not space.is_listed:
        return most
    pairs = Counter((trial.llm_identifier, trial.embed_model_identifier) for trial in space.listed())
    without = sum(n for pair, n in pairs.items() if not all(pair))
    with_models = [n for pair, n in pairs.most_common() if all(pair)]
    first = len(next_round(Search(search.by, None, search.seed, space=search.space), ()))
    return min(most, first + without + sum(with_models[:MOST_PAIRS]))


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


def _indexed(trials: Sequence[Trial], n: int) -> list[Trial]:
    """A trial for each of the `n` indexes that embed most: chunks that overlap more, and smaller ones."""
    found = {}
    for trial in trials:
        if trial.embed_model_identifier:
            request = index_request(trial)
            found[f"{request.chunker} {sorted(request.parameters.items())} {request.embed_model}"] = trial
    return sorted(found.values(), key=_repeated, reverse=True)[:n]


def _repeated(trial: Trial) -> tuple[float, float]:
    size, overlap = (trial.parameters.get(name) or 0 for name in ("chunk_size", "chunk_overlap"))
    return (size / (size - overlap) if size > overlap else 1.0), -float(size)
