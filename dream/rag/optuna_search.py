"""A round of a search by Optuna: it receives the trials of all earlier rounds, and suggests the next ones.

Each round creates a new Optuna study, with a sampler seeded by the search's seed and the round's number. So a round
depends only on earlier results: it is the same on every engine, and after a resume.
"""

from collections.abc import Sequence
from typing import Any

import optuna
from optuna.study import StudyDirection
from optuna.trial import TrialState

from dream.rag.combinations import Block, Combinations
from dream.rag.told import Told, unseen
from dream.records import NSGA2, Search, Trial

# The number of random trials before TPE fits its model.
FIRST_ROUND, ROUND = 10, 5
# The population of NSGA-II, which is one round: a quarter of all trials, within these bounds.
LEAST_POPULATION, MOST_POPULATION = 4, 25
# The number of suggestions to request for a new and allowed trial before one is drawn at random.
_TRIES = 10
_SYSTEM = "system"

optuna.logging.set_verbosity(optuna.logging.WARNING)


def optuna_round(space: Combinations, search: Search, told: Sequence[Told]) -> tuple[Trial, ...]:
    """The trials of the next round; empty when enough have been chosen, or none are left. The first round has the
    incumbents.

    A trial without values is reported as failed. Suggestions that rules exclude or that an earlier round had are
    replaced by further suggestions.
    """
    n = min(_round_size(search), (search.trials or 0) - len(told))
    if n <= 0:
        return ()
    parameters = _Parameters(space)
    study = _study(search, told)
    _tell(study, parameters, search, told)
    study.sampler = _sampler(search, len(search.rounds))
    trials = {trial.id: trial for trial in ([] if told else space.incumbents[:n])}
    seen = {*trials, *(each.trial.id for each in told)}
    for _ in range(_TRIES * n):
        if len(trials) == n:
            break
        asked = study.ask()
        trial, block = parameters.suggested(asked)
        if trial.id in seen or not space.is_allowed(trial, block):
            study.tell(asked, state=TrialState.FAIL)
            continue
        seen.add(trial.id)
        trials[trial.id] = trial
    for trial in unseen(space.drawn(search.seed), [*told, *map(Told, trials.values())]):
        if len(trials) == n:
            break
        trials[trial.id] = trial
    return tuple(trials.values())


def _round_size(search: Search) -> int:
    if search.by == NSGA2:
        return max(LEAST_POPULATION, min(MOST_POPULATION, (search.trials or 0) // 4))
    return ROUND if search.rounds else FIRST_ROUND


def _study(search: Search, told: Sequence[Told]) -> optuna.Study:
    n = len(next((each.values for each in told if each.values), (0.0,)))
    return optuna.create_study(directions=[StudyDirection.MAXIMIZE] * n, sampler=_sampler(search, 0))


def _sampler(search: Search, number: int) -> "optuna.samplers.BaseSampler":
    seed = (search.seed * 1_000_003 + number) % 2**32
    if search.by == NSGA2:
        return optuna.samplers.NSGAIISampler(population_size=_round_size(search), seed=seed)
    return optuna.samplers.TPESampler(n_startup_trials=FIRST_ROUND, seed=seed)


def _tell(study: optuna.Study, parameters: "_Parameters", search: Search, told: Sequence[Told]) -> None:
    """Report the trials to Optuna round by round, in the order in which they were chosen."""
    waiting = list(told)
    for number, n in enumerate(search.rounds):
        study.sampler = _sampler(search, number)
        these, waiting = waiting[:n], waiting[n:]
        asked = []
        for each in these:
            study.enqueue_trial(parameters.of(each.trial))
            asked.append(study.ask())
            parameters.suggested(asked[-1])
        for each, trial in zip(these, asked, strict=True):
            if each.values is None:
                study.tell(trial, state=TrialState.FAIL)
            else:
                study.tell(trial, list(each.values))


class _Parameters:
    """The factors of a space as Optuna's parameters: numbers are ordered, everything else is a category. A factor with
    the same values in several methods is one parameter."""

    def __init__(self, space: Combinations) -> None:
        self._space = space
        self._values: dict[str, set[tuple[Any, ...]]] = {}
        for block in space.blocks:
            for name, choices in block.factors.items():
                self._values.setdefault(name, set()).add(choices)

    def suggested(self, asked: optuna.Trial) -> tuple[Trial, Block]:
        """The trial that Optuna suggests, and its block."""
        blocks = self._space.blocks
        number = asked.suggest_categorical(_SYSTEM, tuple(range(len(blocks)))) if len(blocks) > 1 else 0
        block = blocks[number]
        digits = []
        for name, choices in block.factors.items():
            parameter, order = self._name(name, number), _order(choices)
            index = 0
            if len(choices) > 1 and _is_ordered(choices):
                index = asked.suggest_int(parameter, 0, len(choices) - 1)
            elif len(choices) > 1:
                index = asked.suggest_categorical(parameter, tuple(range(len(choices))))
            digits.append(order[index])
        return block.trial(digits), block

    def of(self, trial: Trial) -> dict[str, Any]:
        """Optuna's parameters of a trial of the space."""
        found = self._space.place(trial)
        if found is None:
            raise ValueError(f"{trial.name} is not a trial of the search space")
        number, digits = found
        block = self._space.blocks[number]
        values: dict[str, Any] = {_SYSTEM: number}
        for (name, choices), digit in zip(block.factors.items(), digits, strict=True):
            values[self._name(name, number)] = _order(choices).index(digit)
        return values

    def _name(self, factor: str, block: int) -> str:
        return factor if len(self._values[factor]) == 1 else f"{factor} of {block}"


def _is_ordered(choices: Sequence[Any]) -> bool:
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in choices)


def _order(choices: Sequence[Any]) -> list[int]:
    """The order of the choices: numbers by size, others as given."""
    places = list(range(len(choices)))
    return sorted(places, key=lambda index: choices[index]) if _is_ordered(choices) else places
