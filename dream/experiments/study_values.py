"""`ValueReader`: reads values of a YAML document, and records invalid ones."""

from collections.abc import Mapping, Sequence
from typing import Any

from dream.errors import did_you_mean
from dream.experiments.study_file import Document, Path


class ValueReader:
    """Reads values at their paths. Invalid values are recorded in the document, and treated as missing."""

    def __init__(self, document: Document) -> None:
        self._document = document

    def _mapping(self, key: str, valid: Sequence[str], given: Mapping[str, Any], path: Path = ()) -> Mapping[str, Any]:
        value = given.get(key)
        if value is None:
            return {}
        if not isinstance(value, dict):
            self._document.problem((*path, key), f"{key}={value!r}: write keys under it, of: {', '.join(valid)}")
            return {}
        self._document.check_keys((*path, key), value, valid)
        return value

    def _names(self, key: str, given: Mapping[str, Any], path: Path) -> tuple[str, ...]:
        values = listed(given.get(key))
        wrong = [value for value in values if not isinstance(value, str) or not value.strip()]
        if wrong:
            self._document.problem((*path, key), f"{key}: {', '.join(map(repr, wrong))} is not a name")
        if several := [value for value in values if value not in wrong and ", " in value]:
            example = f"[{', '.join(several)}]"
            self._document.problem(
                (*path, key), f"{key}: {several[0]!r} contains several names: write {key}: {example}"
            )
        if repeated := sorted({str(value) for value in values if values.count(value) > 1}):
            self._document.problem((*path, key), f"{key} names {', '.join(repeated)} more than once")
        return tuple(value for value in values if value not in wrong)

    def _text_of(self, key: str, given: Mapping[str, Any], path: Path) -> str | None:
        value = given.get(key)
        if value is None or (isinstance(value, str) and value.strip()):
            return value
        self._document.problem((*path, key), f"{key}={value!r}: give a text")
        return None

    def _number(
        self,
        key: str,
        given: Mapping[str, Any],
        path: Path,
        *,
        least: float = 0,
        most: float | None = None,
        above: float | None = None,
    ) -> float | None:
        value = given.get(key)
        if value is None:
            return None
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if is_number and value >= least and (most is None or value <= most) and (above is None or value > above):
            return float(value)
        limits = (
            f"above {above:g}"
            if above is not None
            else f"from {least:g}" + (f" to {most:g}" if most is not None else "")
        )
        self._document.problem((*path, key), f"{key}={value!r}: give a number {limits}")
        return None

    def _count(self, key: str, given: Mapping[str, Any], path: Path) -> int | None:
        value = given.get(key)
        if value is None or (isinstance(value, int) and not isinstance(value, bool) and value >= 1):
            return value
        self._document.problem((*path, key), f"{key}={value!r}: give a whole number of at least 1")
        return None

    def _flag(self, key: str, given: Mapping[str, Any], path: Path = ()) -> bool:
        value = given.get(key, False)
        if not isinstance(value, bool):
            self._document.problem((*path, key), f"{key}={value!r}: give true or false")
            return False
        return value

    def _one_of(self, key: str, given: Mapping[str, Any], valid: Sequence[str]) -> str | None:
        value = given.get(key)
        if value is None or value in valid:
            return value
        self._document.problem((key,), f"{key}={value!r}: give {', '.join(valid)}{did_you_mean(value, valid)}")
        return None


def listed(value: Any) -> list[Any]:
    """A value as a list: of the value itself, of its items, or empty for None."""
    if value is None:
        return []
    return value if isinstance(value, list) else [value]
