"""Chooses the combinations of a search space that become trials.

    grid            all of them random          a seeded sample optuna          in rounds, by Optuna's TPE sampler,
    which prefers values that scored well nsga2           in rounds, by Optuna's NSGA-II: quality, USD and seconds
    together models_first    two rounds: the models with one system, then all systems with the best models

A round depends only on the results of earlier rounds and on the seed, not on the engine.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

from dream.errors import ConfigurationError, bullets
from dream.rag.combinations import Combinations
from dream.rag.models_first import models_first_round
from dream.rag.search_space import SearchSpace
from dream.rag.search_spaces import JoinedSpace
from dream.rag.told import Told
from dream.records import GRID, IN_ROUNDS, INCUMBENT, MODELS_FIRST, NSGA2, OPTUNA, RANDOM, Search, Trial, digest
from dream.settings import Settings

Searcher = Callable[[Combinations, Search, Sequence[Told]], Sequence[Trial]]


def _grid(space: Combinations, search: Search, told: Sequence[Told]) -> Sequence[Trial]:
    return space.listed()


def _random(space: Combinations, search: Search, told: Sequence[Told]) -> Sequence[Trial]:
    """A uniform sample. A larger sample with the same seed contains the smaller one, so an extended experiment finds
    its earlier answers in the cache. Incumbents come first."""
    return chosen(space.listed(), search) if space.is_listed else tuple(islice(space.drawn(search.seed), search.trials))


def _optuna(space: Combinations, search: Search, told: Sequence[Told]) -> Sequence[Trial]:
    from dream.rag.optuna_search import optuna_round  # Optuna takes a third of a second to import

    return optuna_round(space, search, told)


SEARCHERS: Mapping[str, Searcher] = {
    GRID: _grid, RANDOM: _random, OPTUNA: _optuna, NSGA2: _optuna, MODELS_FIRST: models_first_round,
}  # fmt: skip


def search_of(given: Search | Mapping[str, Any] | None) -> Search:
    """The checked search; a mapping has the keys `by`, `trials` and `seed`.

    Raises:
        ConfigurationError: naming every mistake.

    Example:
        >>> search_of({"by": "random", "trials": 60}).trials
        60
    """
    values = {"by": given.by, "trials": given.trials, "seed": given.seed} if isinstance(given, Search) else given or {}
    by, trials, seed = values.get("by", GRID), values.get("trials"), values.get("seed", 0)
    problems = [f"there is no {key!r} here; valid: by, trials, seed" for key in values if key not in _KEYS]
    if by not in SEARCHERS:
        problems.append(f"by={by!r}; valid: {', '.join(SEARCHERS)}")
    if trials is not None and not _is_count(trials, 1):
        problems.append(f"trials={trials!r}: give a whole number of at least 1")
    if by == GRID and trials is not None:
        problems.append(f"trials={trials!r} with by='grid', which tries every combination: write by='random'")
    if by in (RANDOM, OPTUNA, NSGA2) and trials is None:
        problems.append(f"by={by!r} needs trials, the number of combinations to try, such as trials=60")
    if not _is_count(seed, 0):
        problems.append(f"seed={seed!r}: give a whole number of at least 0")
    if problems:
        raise ConfigurationError(bullets(f"{len(problems)} mistake(s) in the search:", problems))
    return Search(by, trials, seed)


def chosen(trials: Sequence[Trial], search: Search) -> tuple[Trial, ...]:
    """The trials of a grid or of a random sample, in the order of the space."""
    if search.by != RANDOM:
        return tuple(trials)
    order = sorted(trials, key=lambda trial: (not trial.parameters.get(INCUMBENT), digest([search.seed, trial.id])))
    drawn = {trial.id for trial in order[: search.trials]}
    return tuple(trial for trial in trials if trial.id in drawn)


def started(
    space: SearchSpace | JoinedSpace, search: Search, settings: Settings | None = None
) -> tuple[tuple[Trial, ...], Search]:
    """The trials that a search can choose before any result (none for a search in rounds), and the search with the
    number of combinations.

    Raises:
        ConfigurationError: for mistakes in the space.
    """
    if search.by == GRID:
        trials = space.trials(settings)
        return trials, replace(search, combinations=len(trials))
    combinations = Combinations.of(space, settings)
    n = len(combinations.listed()) if combinations.is_listed else combinations.size
    search = replace(search, combinations=n, at_most=not combinations.is_listed)
    if search.by == MODELS_FIRST and search.trials is None and search.at_most:
        raise ConfigurationError(
            f"by='models_first' needs trials for a space of {n:,} combinations, such as trials=60: it is too large to "
            f"try all systems"
        )
    if search.by in IN_ROUNDS:
        return (), replace(search, space=combinations.to_json())
    return tuple(SEARCHERS[search.by](combinations, search, ())), search


def next_round(search: Search, told: Sequence[Told]) -> tuple[Trial, ...]:
    """The trials of the next round of a search; empty when the search is complete.

    Args:
        told: all trials of earlier rounds, in their order.
    """
    if not search.is_open or search.space is None:
        return ()
    trials = SEARCHERS[search.by](Combinations.from_json(search.space), search, told)
    return tuple(trials if search.trials is None else trials[: max(0, search.trials - len(told))])


_KEYS = ("by", "trials", "seed")


def _is_count(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least
