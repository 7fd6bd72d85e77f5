"""Reads YAML with the line of every value, so that messages can name the lines of mistakes."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any

import yaml

from dream.errors import ConfigurationError, bullets, did_you_mean

Path = tuple[Any, ...]

_MERGE = "tag:yaml.org,2002:merge"


@dataclass
class Document:
    """The values of a YAML file, the line of each by its path, and the mistakes found so far.

    A path is the keys and positions that lead to a value, such as ("systems", 0, "top_k").
    """

    name: str
    value: Any = None
    lines: dict[Path, int] = field(default_factory=dict)
    _problems: list[tuple[int, str]] = field(default_factory=list)
    _hidden: list[str] = field(default_factory=list)

    def problem(self, path: Path, message: str) -> None:
        """Record a mistake at a path, with the line of the value or of the nearest enclosing value that has a line."""
        while path and path not in self.lines:
            path = path[:-1]
        entry = (self.lines.get(path, 1), message)
        if entry not in self._problems:
            self._problems.append(entry)

    def raise_problems(self) -> None:
        """Raise a ConfigurationError that lists all mistakes by line, if there are any."""
        if self._problems:
            lines = [f"line {line}: {message}".replace("\n", "\n  ") for line, message in sorted(self._problems)]
            text = bullets(f"{len(lines)} mistake(s) in {self.name}:", lines)
            for secret in self._hidden:
                text = text.replace(secret, "***")
            raise ConfigurationError(text)

    def hide(self, secrets: Sequence[str]) -> None:
        """Hide values in all messages."""
        self._hidden += secrets

    def check_keys(self, path: Path, given: Mapping[Any, Any], valid: Sequence[str]) -> None:
        """Record every invalid key, with the most similar valid one."""
        for key in given:
            if key not in valid:
                hint = did_you_mean(key, valid) or f"; valid: {', '.join(valid)}"
                self.problem((*path, key), f"there is no {key!r} here{hint}")


def file_text(path: str | FilePath, what: str, remedy: str = "") -> str:
    """The text of a YAML file.

    Raises:
        ConfigurationError: if it cannot be read; the message has `what` the file is, and the `remedy`.
    """
    try:
        return FilePath(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        ending = f"; {remedy}" if remedy else ""
        raise ConfigurationError(f"the {what} {str(path)!r} cannot be read: {error.strerror}{ending}") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"the {what} {str(path)!r} is not UTF-8, at byte {error.start}") from error


def read_yaml(text: str, name: str) -> Document:
    """Read a YAML text; anchors and merge keys are allowed, a repeated key is a mistake.

    Raises:
        ConfigurationError: if the text is not YAML, with the line.

    Example:
        >>> document = read_yaml("models:\\n  llms: [a, b]", "study.yaml")
        >>> document.value, document.lines["models", "llms", 1]
        ({'models': {'llms': ['a', 'b']}}, 2)
    """
    loader, document = yaml.SafeLoader(text), Document(name)
    try:
        node = loader.get_single_node()
        document.value = None if node is None else _value(node, (), loader, document)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}" if mark else "somewhere"
        hint = "; indent with spaces: YAML does not allow tabs" if "'\\t'" in str(error.problem) else ""
        raise ConfigurationError(
            f"{name} is not valid YAML: {where}: {error.problem or error.context}{hint}"
        ) from error
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{name} is not valid YAML: {' '.join(str(error).split())}") from error
    finally:
        loader.dispose()
    return document


def _value(node: yaml.Node, path: Path, loader: yaml.SafeLoader, document: Document) -> Any:
    document.lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.SequenceNode):
        return [_value(child, (*path, number), loader, document) for number, child in enumerate(node.value)]
    if not isinstance(node, yaml.MappingNode):
        return loader.construct_object(node, deep=True)
    own = [(_key(key, loader), key.start_mark.line + 1) for key, _ in node.value if key.tag != _MERGE]
    names = [name for name, _ in own]
    for number, (name, line) in enumerate(own):
        document.lines[*path, name] = line
        if name in names[:number]:
            document.problem((*path, name), f"{name!r} occurs twice: keep one")
    loader.flatten_mapping(node)  # the merged keys of `<<` come first, so that the mapping's own keys override them
    return {_key(key, loader): _value(child, (*path, _key(key, loader)), loader, document) for key, child in node.value}


def _key(node: yaml.Node, loader: yaml.SafeLoader) -> Any:
    key = loader.construct_object(node, deep=True)
    return key if isinstance(key, Hashable) else str(key)
