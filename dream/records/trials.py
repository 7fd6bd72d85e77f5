"""Trials: combinations of RAG method, LLM, embedding model and parameters, and names that distinguish them."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from dream.defaults import FACTORS
from dream.records.fields import fields_in
from dream.records.questions import digest

# The query engine identifiers of baselines, which run beside the trials of an experiment and are never ranked.
CLOSED_BOOK, ORACLE = "closed_book", "oracle"
_IDENTIFIERS = ("query_engine_identifier", "llm_identifier", "embed_model_identifier")
MOST_OF_A_VALUE = 60
# The parameter that marks the user's system in use.
INCUMBENT = "incumbent"


@dataclass(frozen=True)
class Trial:
    """One combination of RAG method, LLM, embedding model and parameters.

    `parameters` holds the RAG method's own parameters (chunk sizes, top_k, ...), including defaults. A baseline has
    neither parameters nor an embedding model (its identifier is empty).
    """

    query_engine_identifier: str
    llm_identifier: str
    embed_model_identifier: str
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        frozen = {name: tuple(value) if isinstance(value, list) else value for name, value in self.parameters.items()}
        object.__setattr__(self, "parameters", frozen)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "Trial":
        """The inverse of `config()`."""
        parameters = {name: value for name, value in config.items() if name not in _IDENTIFIERS}
        return cls(**{name: config[name] for name in _IDENTIFIERS}, parameters=parameters)

    @property
    def id(self) -> str:
        """The first 12 hexadecimal digits of the SHA-256 of the whole configuration."""
        return digest(asdict(self))[:12]

    @property
    def name(self) -> str:
        """RAG method, LLM and embedding model, joined by " + "; trials that differ only in parameters have the same
        name."""
        identifiers = (self.query_engine_identifier, self.llm_identifier, self.embed_model_identifier)
        return " + ".join(identifier for identifier in identifiers if identifier)

    @property
    def is_baseline(self) -> bool:
        """True for a closed-book or oracle trial, which retrieves nothing."""
        return self.query_engine_identifier in (CLOSED_BOOK, ORACLE)

    def config(self) -> dict[str, Any]:
        """Identifiers and parameters as one flat dictionary, as `experiment(config)` takes it and MLflow logs it."""
        return {**{name: getattr(self, name) for name in _IDENTIFIERS}, **self.parameters}

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Trial":
        """The inverse of `to_json`."""
        return cls(**fields_in(cls, data))


def telling_parameters(trials: Iterable[Trial]) -> dict[str, str]:
    """The parameters that distinguish trials of the same name, by trial id, and the word for the incumbent; empty if
    the name suffices.

    Example:
        >>> trials = [Trial("mmr", "gpt-4o", "bge", {"top_k": k, "chunk_size": 256}) for k in (3, 5)]
        >>> list(telling_parameters(trials).values())
        ['top_k=3', 'top_k=5']
    """
    alike: dict[str, list[Trial]] = {}
    for trial in trials:
        alike.setdefault(trial.name, []).append(trial)
    found = {}
    for group in alike.values():
        names = dict.fromkeys(name for trial in group for name in trial.parameters)
        values = {name: [trial.parameters.get(name, FACTORS.get(name)) for trial in group] for name in names}
        telling = [name for name in names if any(value != values[name][0] for value in values[name])]
        for place, trial in enumerate(group):
            texts = [f"{name}={shortened(values[name][place])}" for name in telling if name != INCUMBENT]
            found[trial.id] = ", ".join([*([INCUMBENT] if trial.parameters.get(INCUMBENT) else []), *texts])
    return found


def full_name(trial: Trial, parameters: str) -> str:
    """A trial's name with its `telling_parameters`, if any."""
    return f"{trial.name} ({parameters})" if parameters else trial.name


def shortened(value: Any) -> str:
    """A value as one line of text; long values, such as prompts, are truncated."""
    text = " ".join(str(value).split())
    return text if len(text) <= MOST_OF_A_VALUE else f"{text[:MOST_OF_A_VALUE]}..."
