"""Which combinations of a search space become trials: all of them (grid), or a sample that a seed fixes (random)."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dream.errors import ConfigurationError, bullets
from dream.records import GRID, INCUMBENT, RANDOM, Search, Trial, digest

Searcher = Callable[[Sequence[Trial], Search], Sequence[Trial]]


def _grid(trials: Sequence[Trial], search: Search) -> Sequence[Trial]:
    return trials


def _random(trials: Sequence[Trial], search: Search) -> Sequence[Trial]:
    """Every combination is as likely as any other. A larger sample of the same seed holds the smaller one, so an
    experiment that is extended finds its earlier answers in the cache. Incumbents come first."""
    order = sorted(trials, key=lambda trial: (not trial.parameters.get(INCUMBENT), digest([search.seed, trial.id])))
    drawn = {trial.id for trial in order[: search.trials]}
    return [trial for trial in trials if trial.id in drawn]


SEARCHERS: Mapping[str, Searcher] = {GRID: _grid, RANDOM: _random}


def search_of(given: Search | Mapping[str, Any] | None) -> Search:
    """The search that is asked for, checked; a mapping has the keys `by`, `trials` and `seed`.

    Raises:
        ConfigurationError: naming every mistake.

    Example:
        >>> search_of({"by": "random", "trials": 60})
        Search(by='random', trials=60, seed=0, combinations=0)
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
    if by == RANDOM and trials is None:
        problems.append("by='random' needs trials, the number of combinations to draw, such as trials=60")
    if not _is_count(seed, 0):
        problems.append(f"seed={seed!r}: give a whole number of at least 0")
    if problems:
        raise ConfigurationError(bullets(f"{len(problems)} mistake(s) in the search:", problems))
    return Search(by, trials, seed)


def chosen(trials: Sequence[Trial], search: Search) -> tuple[Trial, ...]:
    """The trials of a search among all combinations of a space, in the space's order."""
    return tuple(SEARCHERS[search.by](trials, search))


_KEYS = ("by", "trials", "seed")


def _is_count(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least
