"""The option `--set`: texts such as `top_k=3,5` become the parameters of a search space."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dream.errors import ConfigurationError, bullets

_BOOLEANS = {"yes": True, "true": True, "no": False, "false": False}
_KINDS = {
    int: "a whole number",
    float: "a number",
    bool: "yes or no",
    tuple: "values joined by '/', such as 1024/512/128",
}


@dataclass(frozen=True)
class Assignment:
    """One `--set` option. `method` is "" if the values apply to every RAG method with this parameter."""

    text: str
    method: str
    parameter: str
    values: tuple[str, ...]


def parameters_of(
    texts: Sequence[str], query_engines: Sequence[str], defaults: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[str, list[Any]]]:
    """The `parameters` of a `SearchSpace`; values for one method override those for all methods.

    Args:
        texts: of the form `[METHOD.]PARAMETER=VALUE,...`; values are converted to the type of the parameter's default.
        query_engines: the RAG methods of the search space.
        defaults: `{RAG method: {parameter: default}}` of all methods.

    Raises:
        ConfigurationError: naming every mistake at once.

    Example:
        >>> parameters_of(["top_k=3,5"], ["basic"], {"basic": {"top_k": 4}})
        {'basic': {'top_k': [3, 5]}}
    """
    assignments = [_assignment(text) for text in texts]
    parameters: dict[str, dict[str, list[Any]]] = {}
    problems = _repeated(assignments)
    for assignment in sorted(assignments, key=lambda assignment: bool(assignment.method)):
        try:
            for method in _methods(assignment, {name: defaults[name] for name in query_engines if name in defaults}):
                default = defaults[method][assignment.parameter]
                parameters.setdefault(method, {})[assignment.parameter] = _values(assignment, default)
        except ValueError as error:
            problems.append(f"{assignment.text}: {error}")
    if problems:
        raise ConfigurationError(bullets(f"{len(problems)} mistake(s) in --set:", problems))
    return parameters


def _assignment(text: str) -> Assignment:
    name, _, values = text.partition("=")
    method, _, parameter = name.strip().rpartition(".")
    return Assignment(text, method, parameter, tuple(value.strip() for value in values.split(",")))


def _repeated(assignments: Sequence[Assignment]) -> list[str]:
    names = [".".join(filter(None, (assignment.method, assignment.parameter))) for assignment in assignments]
    return [
        f"{name} is set {names.count(name)} times: write all values in one option, such as {name}=3,5"
        for name in dict.fromkeys(names)
        if name and names.count(name) > 1
    ]


def _methods(assignment: Assignment, chosen: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The methods that an assignment applies to; `chosen` has the defaults of the methods in the search space.

    Empty if the search space has no known method; `SearchSpace` then names the unknown ones.
    """
    if "=" not in assignment.text or not assignment.parameter or "" in assignment.values:
        raise ValueError("write PARAMETER=VALUE,... or METHOD.PARAMETER=VALUE,..., such as top_k=3,5")
    if not chosen:
        return []
    method = assignment.method
    if method and method not in chosen:
        raise ValueError(f"{method!r} is not a RAG method of this search space; valid: {', '.join(chosen)}")
    methods = [name for name in ([method] if method else chosen) if assignment.parameter in chosen[name]]
    if not methods:
        valid = "; ".join(f"{name}: {', '.join(chosen[name])}" for name in ([method] if method else chosen))
        raise ValueError(f"there is no parameter {assignment.parameter!r}; valid of {valid}")
    return methods


def _values(assignment: Assignment, default: Any) -> list[Any]:
    values: list[Any] = []
    unreadable: list[str] = []
    for text in assignment.values:
        try:
            values.append(_value(text, default))
        except ValueError:
            if text.startswith("@"):
                raise
            unreadable.append(repr(text))
    if unreadable:
        kind = _KINDS.get(type(default), "a valid value")
        raise ValueError(f"{', '.join(unreadable)} cannot be read: give {kind}")
    if len(set(values)) < len(values):
        raise ValueError("a value is given more than once")
    return values


def _value(text: str, default: Any) -> Any:
    """The text as a value of the default's type; if the default is None, as a number if possible, else as text."""
    if isinstance(default, bool):
        if text.lower() not in _BOOLEANS:
            raise ValueError(text)
        return _BOOLEANS[text.lower()]
    if isinstance(default, tuple):
        if "/" not in text:
            raise ValueError(text)
        return tuple(_value(part, default[0]) for part in text.split("/"))
    if isinstance(default, str):
        return _text(text)
    if default is not None:
        return type(default)(text)
    for read in (int, float):
        with suppress(ValueError):
            return read(text)
    return text


def _text(text: str) -> str:
    """The text itself, or the content of the file that it names as @FILE."""
    if not text.startswith("@"):
        return text
    try:
        return Path(text[1:]).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ValueError(f"the file {text[1:]!r} cannot be read: {error.strerror}") from None
