"""`Search`: the choice of an experiment's trials from the combinations of a search space."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

GRID, RANDOM, OPTUNA, NSGA2, MODELS_FIRST = "grid", "random", "optuna", "nsga2", "models_first"
# Searches in rounds, whose trials depend on earlier results.
IN_ROUNDS = (OPTUNA, NSGA2, MODELS_FIRST)
_HOW = {
    RANDOM: "drawn at random",
    OPTUNA: "chosen one round after the other by Optuna's TPE sampler",
    NSGA2: "chosen one round after the other by NSGA-II, for quality, USD and seconds together,",
    MODELS_FIRST: "chosen models first, then systems for the models that may be the best,",
}


@dataclass(frozen=True)
class Search:
    """The choice of trials from the combinations of a search space (`dream.rag.search`): all of them (`by` is "grid"),
    a random sample of `trials` by `seed`, or at most `trials` in rounds, each chosen by the results of earlier rounds.

    Attributes:
        combinations: the number of combinations, 0 if unknown; with `at_most`, an upper bound that includes those
            excluded by rules.
        rounds: the number of trials of each round so far, in the order of the trials.
        space: the combinations of a search in rounds (`dream.rag.combinations`), so that it can be resumed.
        is_done: true when a search in rounds has chosen its last trial.
    """

    by: str = GRID
    trials: int | None = None
    seed: int = 0
    combinations: int = 0
    at_most: bool = False
    rounds: tuple[int, ...] = ()
    space: Mapping[str, Any] | None = None
    is_done: bool = False

    @property
    def is_open(self) -> bool:
        """True for a search in rounds that has still to choose trials."""
        return self.by in IN_ROUNDS and not self.is_done

    @property
    def asked(self) -> "Search":
        """The search as requested, without its results."""
        return Search(self.by, self.trials, self.seed)

    @property
    def summary(self) -> str:
        """A sentence about the search, and its consequence for the best trial; empty for the whole grid."""
        if self.by == GRID:
            return ""
        is_to_come = self.by in IN_ROUNDS and not self.rounds
        n = self.trials if is_to_come or not self.rounds else sum(self.rounds)
        number = "some" if n is None else f"{'at most ' if is_to_come else ''}{n}"
        of = f"{'at most ' if self.at_most else ''}{self.combinations:,} combinations"
        return (
            f"{number} of {of} {'are' if is_to_come else 'were'} {_HOW[self.by]} (seed {self.seed}); better ones may "
            f"be among the others. The more trials are searched, the more the highest mean is partly luck: confirm the "
            f"choice on questions that it was not based on."
        )

    def with_round(self, n: int) -> "Search":
        """The search with one more round of `n` trials."""
        return replace(self, rounds=(*self.rounds, n))

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Search":
        """The inverse of `to_json`; unknown fields are ignored."""
        names = {each.name for each in fields(cls)}
        given = {name: value for name, value in data.items() if name in names}
        return cls(**{**given, "rounds": tuple(data.get("rounds", ()))})
