"""Main effects and interactions of the factors: RAG method, LLM, embedding model and shared parameters.

The trial means are decomposed by analysis of variance with sum-to-zero effects (Fisher 1925, "Statistical Methods for
Research Workers", chapter 7), fitted by least squares, so that an incomplete grid can be used too. An effect is a
weighted sum of trial means, so it has one value per question, and is tested by the same sign flips of whole documents
as the set of the best (`dream.comparison.contrasts`). All statements, about differences between levels, levels and
interactions, are one family: with 95 % confidence none of them is false.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy

from dream.comparison.contrasts import Contrasts
from dream.comparison.intervals import Floats, Interval
from dream.comparison.score_table import FACTORS, ScoreTable
from dream.defaults import FACTORS as FACTOR_DEFAULTS
from dream.records import Trial

# Stands for a level in a comparison with the mean of all trials.
AVERAGE = "the average"


@dataclass(frozen=True)
class LevelEffect:
    """The effect of one level of a factor on the mean score, relative to the mean of all trials."""

    factor: str
    level: str
    effect: Interval


@dataclass(frozen=True)
class FactorEffect:
    """One factor: its share of the variance between trials, and its clearest difference.

    `share` is 0 to 1 in a complete grid; in a grid with gaps it can exceed 1. `better` and `worse` are the two levels
    whose `difference` has the largest lower confidence limit. If no two levels are shown to differ, but one differs
    from the average of all trials, one of them is "the average". The interval is simultaneous over all factors.
    """

    factor: str
    share: float
    better: str
    worse: str
    difference: Interval

    @property
    def matters(self) -> bool:
        """True if two levels of this factor, or one of them and the average, are shown to differ."""
        return self.difference.excludes_zero


@dataclass(frozen=True)
class InteractionEffect:
    """The interaction of two factors: its share of the variance, and the largest effect of a pair of levels beyond the
    sum of their main effects.

    `levels` is the pair whose interval is furthest from 0.
    """

    factors: tuple[str, str]
    share: float
    levels: tuple[str, str]
    effect: Interval


@dataclass(frozen=True)
class Effects:
    """Main effects and interactions, the largest share of variance first.

    `notes` name the effects that the trials cannot separate.
    """

    factors: tuple[FactorEffect, ...] = ()
    levels: tuple[LevelEffect, ...] = ()
    interactions: tuple[InteractionEffect, ...] = ()
    notes: tuple[str, ...] = ()


def effects(table: ScoreTable, seed: int = 0) -> Effects:
    """The effects of every factor with more than one level among the trials of `table`.

    Every trial needs at least one score. `seed` is that of the sign flips.
    """
    factors = factor_values([result.trial for result in table.results])
    if not factors:
        return Effects(notes=("No factor has more than one level, so there are no effects.",))
    factors, aliased = _separable(factors)
    maps = _main_effects(factors)
    if maps is None:
        return Effects(notes=(f"The trials do not separate {', '.join(factors)}: run more of their combinations.",))
    parts = _Parts(table, [*_contrasts(factors, maps), *_crossed_maps(factors)], seed)
    levels = _levels(parts, factors, maps)
    effects = sorted(
        (_factor(parts, factors, maps, name, levels) for name in factors), key=lambda effect: -effect.share
    )
    crossed, notes = _interactions(parts, factors)
    order = [effect.factor for effect in effects]
    return Effects(
        tuple(effects), tuple(sorted(levels, key=lambda level: order.index(level.factor))), crossed, aliased + notes
    )


def factor_values(trials: Sequence[Trial]) -> dict[str, list[str]]:
    """The level of each trial for each factor with more than one level.

    A parameter is a factor only if every trial has it; shared factors that a trial does not name have their defaults.
    Models are a factor only if every trial has one: `bm25` has no embedding model, and a user's own system has no LLM.
    """
    configs = [{**FACTOR_DEFAULTS, **trial.config()} for trial in trials]
    shared = [name for name in configs[0] if all(_has(config, name) for config in configs)] if configs else []
    values = {FACTORS.get(name, name): [str(config[name]) for config in configs] for name in shared}
    return {name: choices for name, choices in values.items() if len(set(choices)) > 1}


def _has(config: Mapping[str, Any], name: str) -> bool:
    return name in config and not (name in FACTORS and config[name] == "")


def _separable(factors: dict[str, list[str]]) -> tuple[dict[str, list[str]], tuple[str, ...]]:
    """The factors without those parameters that are confounded with others, such as a RAG method's own defaults."""
    kept = {name: choices for name, choices in factors.items() if name in FACTORS.values()}
    together = []
    for name, choices in factors.items():
        if name not in kept and _main_effects({**kept, name: choices}) is not None:
            kept[name] = choices
        elif name not in kept:
            together.append(name)
    note = f"Confounded with other factors, so part of their effects: {', '.join(together)}."
    return kept or factors, (note,) if together and kept else ()


class _Parts(Contrasts):
    """The contrasts of all effects, and the variance between trials that they share."""

    def __init__(self, table: ScoreTable, families: Sequence[Floats], seed: int) -> None:
        super().__init__(table, families, seed)
        self.total = float(((self.means - self.means.mean()) ** 2).sum())

    def share(self, fitted: Floats) -> float:
        """The share of the variance between trials that `fitted`, one value per trial, explains (0 to 1)."""
        return float((fitted**2).sum()) / self.total if self.total > 1e-18 else 0.0


def _codes(choices: Sequence[str]) -> tuple[list[str], Floats]:
    """The levels, and their sum-to-zero codes: a row per level, a column per coefficient; the last row is all -1."""
    levels = list(dict.fromkeys(choices))
    return levels, numpy.vstack([numpy.eye(len(levels) - 1), -numpy.ones(len(levels) - 1)])


def _coded(choices: Sequence[str]) -> Floats:
    levels, codes = _codes(choices)
    return codes[[levels.index(choice) for choice in choices]]


def _main_effects(factors: Mapping[str, Sequence[str]]) -> dict[str, Floats] | None:
    """For each factor a levels x trials matrix of weights; None if the design is rank deficient."""
    blocks = [_coded(choices) for choices in factors.values()]
    solved = _solve(blocks)
    if solved is None:
        return None
    return {name: _codes(factors[name])[1] @ part for name, part in zip(factors, solved, strict=True)}


def _solve(blocks: Sequence[Floats]) -> list[Floats] | None:
    """Least squares with an intercept: a coefficients x trials matrix for each block; None if rank deficient."""
    design = numpy.hstack([numpy.ones((len(blocks[0]), 1)), *blocks])
    if numpy.linalg.matrix_rank(design) < design.shape[1]:
        return None
    weights: Floats = numpy.linalg.pinv(design).astype(float)
    edges = numpy.cumsum([1, *(block.shape[1] for block in blocks)])
    return [weights[start:end] for start, end in itertools.pairwise(edges)]


def _levels(parts: _Parts, factors: Mapping[str, Sequence[str]], maps: Mapping[str, Floats]) -> list[LevelEffect]:
    names = [(factor, level) for factor in factors for level in _codes(factors[factor])[0]]
    intervals = parts.intervals(numpy.vstack([maps[factor] for factor in factors]))
    return [LevelEffect(factor, level, effect) for (factor, level), effect in zip(names, intervals, strict=True)]


def _contrasts(factors: Mapping[str, Sequence[str]], maps: Mapping[str, Floats]) -> list[Floats]:
    """Trial weights of every level, and of every pair of levels, of each factor."""
    families = list(maps.values())
    for name in factors:
        pairs = itertools.combinations(range(len(maps[name])), 2)
        families.append(numpy.array([maps[name][a] - maps[name][b] for a, b in pairs]))
    return families


def _crossed_maps(factors: Mapping[str, Sequence[str]]) -> list[Floats]:
    interactions = (_crossed(factors, first, second) for first, second in itertools.combinations(factors, 2))
    return [maps for maps in interactions if maps is not None]


def _factor(
    parts: _Parts,
    factors: Mapping[str, Sequence[str]],
    maps: Mapping[str, Floats],
    name: str,
    effects: Sequence[LevelEffect],
) -> FactorEffect:
    levels, _ = _codes(factors[name])
    estimates = maps[name] @ parts.means
    pairs = [
        (a, b) if estimates[a] >= estimates[b] else (b, a) for a, b in itertools.combinations(range(len(levels)), 2)
    ]
    differences = parts.intervals(numpy.array([maps[name][a] - maps[name][b] for a, b in pairs]))
    clearest = max(range(len(pairs)), key=lambda pair: (differences[pair].low, differences[pair].mean))
    better, worse = (levels[place] for place in pairs[clearest])
    difference = differences[clearest]
    if not difference.excludes_zero:
        alone = [level.effect for level in effects if level.factor == name]
        place = max(range(len(levels)), key=lambda level: _clearness(alone[level]))
        if alone[place].excludes_zero and alone[place].mean > 0:
            better, worse, difference = levels[place], AVERAGE, alone[place]
        elif alone[place].excludes_zero:
            (difference,) = parts.intervals(-maps[name][[place]])
            better, worse = AVERAGE, levels[place]
    share = parts.share(estimates[[levels.index(choice) for choice in factors[name]]])
    return FactorEffect(name, share, better, worse, difference)


def _interactions(
    parts: _Parts, factors: Mapping[str, Sequence[str]]
) -> tuple[tuple[InteractionEffect, ...], tuple[str, ...]]:
    interactions, notes = [], []
    for first, second in itertools.combinations(factors, 2):
        interaction = _interaction(parts, factors, first, second)
        if interaction is None:
            notes.append(
                f"Not every combination of {first} and {second} was run, so their interaction cannot be estimated."
            )
        else:
            interactions.append(interaction)
    return tuple(sorted(interactions, key=lambda effect: -effect.share)), tuple(notes)


def _crossed(factors: Mapping[str, Sequence[str]], first: str, second: str) -> Floats | None:
    """Trial weights of the interaction of each pair of levels; None if it cannot be estimated."""
    a, b = _coded(factors[first]), _coded(factors[second])
    crossed = (a[:, :, None] * b[:, None, :]).reshape(len(a), -1)
    solved = _solve([*(_coded(choices) for choices in factors.values()), crossed])
    if solved is None:
        return None
    return numpy.kron(_codes(factors[first])[1], _codes(factors[second])[1]) @ solved[-1]


def _interaction(
    parts: _Parts, factors: Mapping[str, Sequence[str]], first: str, second: str
) -> InteractionEffect | None:
    maps = _crossed(factors, first, second)
    if maps is None:
        return None
    levels_a, levels_b = _codes(factors[first])[0], _codes(factors[second])[0]
    effects = parts.intervals(maps)
    clearest = max(range(len(effects)), key=lambda cell: _clearness(effects[cell]))
    cells = [
        levels_a.index(level_a) * len(levels_b) + levels_b.index(level_b)
        for level_a, level_b in zip(factors[first], factors[second], strict=True)
    ]
    pair = (levels_a[clearest // len(levels_b)], levels_b[clearest % len(levels_b)])
    return InteractionEffect((first, second), parts.share((maps @ parts.means)[cells]), pair, effects[clearest])


def _clearness(effect: Interval) -> tuple[float, float]:
    return max(effect.low, -effect.high), abs(effect.mean)
