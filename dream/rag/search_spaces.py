"""`JoinedSpace`: several search spaces as one, narrowed by rules."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dream.errors import ConfigurationError, bullets
from dream.rag.search_space import SearchSpace, full_config
from dream.records import Trial
from dream.settings import Settings

Condition = Mapping[str, Any]


@dataclass(frozen=True)
class Requirement:
    """A rule: a trial that meets `when` must meet `then` too. A list is met by any of its items."""

    when: Condition
    then: Condition


@dataclass(frozen=True)
class JoinedSpace:
    """The trials of several search spaces, each once.

    Args:
        exclude: conditions; trials that meet one are left out. The keys are those of a trial's configuration.
        require: rules; trials that break one are left out. A trial without a parameter in `then` breaks the rule.
        places: the location of each space in the file, for messages.
        name: the name of the whole space, for messages.

    Example:
        >>> spaces = [SearchSpace(["chunks_with_overlap"], ["gpt-4o"], ["bge"], {"chunks_with_overlap": {"top_k": k}})
        ...           for k in ([2, 3], [3, 4])]
        >>> joined = JoinedSpace(spaces, exclude=[{"top_k": 4}])
        >>> [trial.parameters["top_k"] for trial in joined.trials()]
        [2, 3]
    """

    spaces: Sequence[SearchSpace]
    exclude: Sequence[Condition] = ()
    require: Sequence[Requirement] = ()
    places: Sequence[str] = ()
    name: str = "the search space"

    def trials(self, settings: Settings | None = None) -> tuple[Trial, ...]:
        """All trials, in a stable order. With `settings`, the model identifiers are checked against the endpoints too.

        Raises:
            ConfigurationError: for invalid choices, all at once; for rules that exclude every trial.
        """
        problems = self.problems(settings)
        if problems:
            raise ConfigurationError(bullets(f"{len(problems)} mistake(s) in {self.name}:", problems))
        trials = {trial.id: trial for space in self.spaces for trial in space.unchecked_trials()}
        kept = tuple(trial for trial in trials.values() if is_allowed(trial, self.exclude, self.require))
        if not kept:
            raise ConfigurationError(f"the rules of {self.name} exclude all {len(trials)} trials")
        return kept

    def problems(self, settings: Settings | None = None) -> list[str]:
        """A message for each mistake, with its location."""
        places = self.places or [""] * len(self.spaces)
        problems = [
            f"{place}: {problem}" if place else problem
            for place, space in zip(places, self.spaces, strict=True)
            for problem in space.problems(settings)
        ]
        return list(dict.fromkeys(problems))


def is_allowed(trial: Trial, exclude: Sequence[Condition], require: Sequence[Requirement]) -> bool:
    """True if the rules of a `JoinedSpace` allow a trial."""
    config = full_config(trial)
    if any(_meets(config, condition) for condition in exclude):
        return False
    return all(_meets(config, rule.then) for rule in require if _meets(config, rule.when))


def _meets(config: Mapping[str, Any], condition: Condition) -> bool:
    return all(key in config and _is_one_of(config[key], wanted) for key, wanted in condition.items())


def _is_one_of(value: Any, wanted: Any) -> bool:
    """True if the value equals `wanted` or is in it; lists in a file are tuples in a trial."""
    value = list(value) if isinstance(value, tuple) else value
    return value == wanted or (isinstance(wanted, list) and value in wanted)
