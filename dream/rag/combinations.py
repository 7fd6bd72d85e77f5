"""`Combinations`: the trials of a search space, accessed by number instead of being listed."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from dream.errors import ConfigurationError, bullets
from dream.rag.products import LISTED, digits_of, shuffled, size_of
from dream.rag.registry import find_rag_method
from dream.rag.search_space import SearchSpace, choices_of, full_config, matches, trial_of
from dream.rag.search_spaces import JoinedSpace, Requirement, is_allowed
from dream.records import INCUMBENT, Trial
from dream.settings import Settings

METHOD, LLM, EMBED_MODEL = "query_engine_identifier", "llm_identifier", "embed_model_identifier"


@dataclass(frozen=True)
class Block:
    """The product of the factors of one RAG method, by their names in a trial's configuration; `exclude` are the
    conditions of a `SearchSpace`."""

    method: str
    factors: Mapping[str, tuple[Any, ...]]
    exclude: tuple[Mapping[str, Any], ...] = ()

    @property
    def choices(self) -> list[tuple[Any, ...]]:
        """The choices of all factors, in their order."""
        return list(self.factors.values())

    def trial(self, digits: Sequence[int]) -> Trial:
        """The trial with these choices."""
        values = {name: each[digit] for (name, each), digit in zip(self.factors.items(), digits, strict=True)}
        llm, embed_model = values.pop(LLM), values.pop(EMBED_MODEL)
        return trial_of(self.method, llm, embed_model, values)

    def digits(self, trial: Trial) -> tuple[int, ...] | None:
        """The first choices that give a trial; None if none do."""
        if trial.query_engine_identifier != self.method:
            return None
        config, own = full_config(trial), trial.config()
        digits = []
        for name, choices in self.factors.items():
            if config[name] not in choices and name in own:
                return None
            digits.append(choices.index(config[name]) if config[name] in choices else 0)
        return tuple(digits) if self.trial(digits).id == trial.id else None


@dataclass(frozen=True)
class Combinations:
    """The trials of a search space. Combinations are skipped if they give the same trial as an earlier one, if a rule
    excludes them, or if their values conflict.

    Example:
        >>> space = SearchSpace(["bm25"], ["gpt-4o"], ["bge"], {"bm25": {"top_k": [2, 4]}})
        >>> [trial.parameters["top_k"] for trial in Combinations.of(space).drawn(seed=0)]
        [4, 2]
    """

    blocks: tuple[Block, ...]
    exclude: tuple[Mapping[str, Any], ...] = ()
    require: tuple[Requirement, ...] = ()

    @classmethod
    def of(cls, space: SearchSpace | JoinedSpace, settings: Settings | None = None) -> "Combinations":
        """The combinations of a search space.

        Raises:
            ConfigurationError: for invalid choices, all at once; for rules that exclude every trial.
        """
        if problems := space.problems(settings):
            name = space.name if isinstance(space, JoinedSpace) else "the search space"
            raise ConfigurationError(bullets(f"{len(problems)} mistake(s) in {name}:", problems))
        joined = space if isinstance(space, JoinedSpace) else JoinedSpace([space])
        blocks = [_block(each, name) for each in joined.spaces for name in each.query_engines]
        combinations = cls(tuple(blocks), tuple(joined.exclude), tuple(joined.require))
        if next(combinations.drawn(0), None) is None:
            raise ConfigurationError("the rules of the search space exclude every trial")
        return combinations

    @cached_property
    def size(self) -> int:
        """The number of combinations, including those that are skipped."""
        return sum(size_of(block.choices) for block in self.blocks)

    @cached_property
    def incumbents(self) -> tuple[Trial, ...]:
        """The systems in use, which every search tries first."""
        blocks = tuple(block for block in self.blocks if any(block.factors.get(INCUMBENT, ())))
        return replace(self, blocks=blocks).listed()

    @property
    def is_listed(self) -> bool:
        """True if there are few enough to be listed."""
        return self.size <= LISTED

    def at(self, number: int) -> tuple[Block, tuple[int, ...]]:
        """The block of a combination, and its choices."""
        for block in self.blocks:
            if number < (n := size_of(block.choices)):
                return block, digits_of(number, block.choices)
            number -= n
        raise IndexError(number)

    def place(self, trial: Trial) -> tuple[int, tuple[int, ...]] | None:
        """The number of the first block that gives a trial, and the choices; None if no block does."""
        for number, block in enumerate(self.blocks):
            if (digits := block.digits(trial)) is not None:
                return number, digits
        return None

    def is_allowed(self, trial: Trial, block: Block) -> bool:
        """True if the rules and the method's bounds allow a trial of a block."""
        if any(matches(trial, rule) for rule in block.exclude) or not is_allowed(trial, self.exclude, self.require):
            return False
        return self.is_listed or not find_rag_method(block.method).problems(trial.parameters)

    def listed(self) -> tuple[Trial, ...]:
        """All trials, in the order of the space."""
        return tuple(trial for number in range(self.size) if (trial := self._counted(number)))

    def drawn(self, seed: int) -> Iterator[Trial]:
        """All trials, the incumbents first and the others in a uniformly random order that depends only on the seed."""
        yield from self.incumbents
        seen = {trial.id for trial in self.incumbents}
        for number in shuffled(self.size, seed):
            if (trial := self._counted(number)) and trial.id not in seen:
                yield trial

    def representatives(self) -> tuple[Trial, ...]:
        """A few trials in which each model and each value of each factor occurs, including excluded ones, for checks of
        models and methods before any trial is chosen."""
        trials: dict[str, Trial] = {}
        for block in self.blocks:
            for factor, choices in enumerate(block.choices):
                for digit in range(len(choices)):
                    digits = [0] * len(block.factors)
                    digits[factor] = digit
                    trial = block.trial(digits)
                    trials[trial.id] = trial
        return tuple(trials.values())

    def to_json(self) -> dict[str, Any]:
        return {
            "blocks": [
                {"method": block.method, "factors": {k: list(v) for k, v in block.factors.items()},
                 "exclude": list(block.exclude)}
                for block in self.blocks
            ],
            "exclude": list(self.exclude),
            "require": [{"when": rule.when, "then": rule.then} for rule in self.require],
        }  # fmt: skip

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Combinations":
        """The inverse of `to_json`."""
        blocks = [
            Block(
                each["method"],
                {
                    name: tuple(tuple(value) if isinstance(value, list) else value for value in values)
                    for name, values in each["factors"].items()
                },
                tuple(each["exclude"]),
            )
            for each in data["blocks"]
        ]
        require = tuple(Requirement(rule["when"], rule["then"]) for rule in data["require"])
        return cls(tuple(blocks), tuple(data["exclude"]), require)

    def _counted(self, number: int) -> Trial | None:
        """The trial of a combination; None if the combination is skipped."""
        block, digits = self.at(number)
        trial = block.trial(digits)
        place = self.place(trial)
        is_first = place is not None and self.blocks[place[0]] is block and place[1] == digits
        return trial if is_first and self.is_allowed(trial, block) else None


def _block(space: SearchSpace, name: str) -> Block:
    method = find_rag_method(name)
    models = {
        LLM: tuple(space.llms) if method.needs_llm else ("",),
        EMBED_MODEL: tuple(space.embed_models) if method.needs_vectors else ("",),
    }
    return Block(name, {**models, **choices_of(method, space.parameters.get(name, {}))}, tuple(space.exclude))
