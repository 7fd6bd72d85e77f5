"""`fitted`: converts a value with an unambiguous meaning to the form that a JSON schema demands; nothing is guessed.

Only unambiguous deviations are corrected: "1", 1.0 or true for the integer 1, a list around the object, a missing
`reason`, keys in another case. Ambiguous ones, such as a verdict of 5 or a missing verdict, are a `Misfit`.
"""

import json
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

# Explanatory fields, without which the answer has the same meaning.
EXPLAINING = frozenset(
    "reason reasons reasoning rationale explanation justification feedback comment comments thought thoughts".split()
)
_WORDS = {"true": 1, "yes": 1, "false": 0, "no": 0}
_MAX_SHOWN = 80
_MAX_DEPTH = 30

Schema = Mapping[str, Any]


class Misfit(ValueError):
    """A value that does not fit the schema. The message has its path and the valid values."""


def fitted(value: Any, schema: Schema) -> Any:
    """The value in the form of the schema.

    Raises:
        Misfit: if the value does not fit.

    Example:
        >>> verdict = {"type": "integer", "minimum": 0, "maximum": 1}
        >>> schema = {"type": "object", "properties": {"verdict": verdict}, "required": ["verdict"]}
        >>> fitted([{"Verdict": "yes"}], schema)
        {'verdict': 1}
        >>> fitted({"verdict": 5}, schema)
        Traceback (most recent call last):
        dream.models.schema_fit.Misfit: `verdict` is 5, but must be a whole number from 0 to 1
    """
    return _Fit(schema).value(value, schema, "", 0)


class _Fit:
    """Fits values to the parts of one schema. `path` is the place of a value in the answer, for messages."""

    def __init__(self, root: Schema) -> None:
        self._root = root
        self._by_type: dict[str, Callable[[Any, Schema, str, int], Any]] = {
            "object": self._object,
            "array": self._array,
            "integer": self._integer,
            "number": self._number,
            "boolean": self._boolean,
            "string": self._string,
            "null": self._null,
        }

    def value(self, value: Any, schema: Schema, path: str, depth: int) -> Any:
        if depth > _MAX_DEPTH:
            raise Misfit(f"{_place(path)} is nested too deeply")
        schema = self._resolved(schema)
        if "const" in schema or "enum" in schema:
            return _one_of(value, schema.get("enum", [schema.get("const")]), path)
        kinds = schema.get("type")
        if isinstance(kinds, list):
            return self._any_of(value, [{**schema, "type": kind} for kind in kinds], path, depth)
        for name in ("anyOf", "oneOf"):
            if name in schema:
                return self._any_of(value, schema[name], path, depth)
        if kinds is None and "properties" in schema:
            kinds = "object"
        fit = self._by_type.get(str(kinds))
        return fit(value, schema, path, depth + 1) if fit else value

    def _resolved(self, schema: Schema) -> Schema:
        for _ in range(_MAX_DEPTH):
            reference = schema.get("$ref")
            if reference is None and len(schema.get("allOf", ())) == 1:
                schema = {**schema["allOf"][0], **{name: schema[name] for name in schema if name != "allOf"}}
            elif isinstance(reference, str):
                schema = self._pointed_at(reference)
            else:
                break
        return schema

    def _pointed_at(self, reference: str) -> Schema:
        target: Any = self._root
        for part in reference.removeprefix("#").strip("/").split("/"):
            target = target.get(part, {}) if part and isinstance(target, Mapping) else target
        return target

    def _any_of(self, value: Any, schemas: list[Schema], path: str, depth: int) -> Any:
        problems = []
        for schema in schemas:
            try:
                return self.value(value, schema, path, depth)
            except Misfit as misfit:
                problems.append(str(misfit))
        raise Misfit(problems[0] if problems else f"{_place(path)} is {_shown(value)}, which is not allowed")

    # --- objects

    def _object(self, value: Any, schema: Schema, path: str, depth: int) -> Any:
        value = _parsed(value)
        if isinstance(value, Mapping):
            return self._members(value, schema, path, depth)
        properties = schema.get("properties", {})
        required = [name for name in schema.get("required", ()) if not _is_explaining(name)]
        if isinstance(value, list):
            if len(required) == 1 and self._type(properties.get(required[0], {})) == "array" and not _wraps(value):
                return self._members({required[0]: value}, schema, path, depth)
            if len(value) == 1:
                return self.value(value[0], schema, path, depth)
        elif isinstance(value, str) and len(required) == 1 and self._type(properties.get(required[0], {})) == "string":
            return self._members({required[0]: value}, schema, path, depth)
        raise Misfit(f"{_place(path)} is {_shown(value)}, but must be an object with {_names(properties)}")

    def _type(self, schema: Schema) -> Any:
        return self._resolved(schema).get("type")

    def _members(self, value: Mapping[str, Any], schema: Schema, path: str, depth: int) -> dict[str, Any]:
        properties: Mapping[str, Any] = schema.get("properties", {})
        by_property = _by_property(value, properties)
        missing = [name for name in schema.get("required", ()) if name not in by_property and not _is_explaining(name)]
        if missing and (inner := _wrapped(value, properties, str(schema.get("title", "")))) is not None:
            if _is_alike(inner, properties):
                return self.value(inner, schema, path, depth)
            with suppress(Misfit):
                return self.value(inner, schema, path, depth)
        if missing:
            raise Misfit(f"{_place(path)} lacks {_names(missing)}: it has {_names(value) or 'nothing'}")
        members = {}
        for name, part in properties.items():
            if name in by_property:
                members[name] = self._member(by_property[name], part, name, f"{path}.{name}".strip("."), depth)
            elif name in schema.get("required", ()):
                members[name] = self.value("", part, f"{path}.{name}".strip("."), depth)
        return {**members, **self._others(value, by_property, schema, path, depth)}

    def _member(self, value: Any, schema: Schema, name: str, path: str, depth: int) -> Any:
        if _is_explaining(name) and self._type(schema) == "string":
            if value is None:
                return ""
            if isinstance(value, list) and all(isinstance(item, str) for item in value):
                return " ".join(value)
            if isinstance(value, Mapping | list):
                return json.dumps(value, ensure_ascii=False)
        return self.value(value, schema, path, depth)

    def _others(self, value: Mapping[str, Any], found: Mapping[str, Any], schema: Schema, path: str, depth: int) -> Any:
        """Members that are not in the schema: kept in mappings, else dropped."""
        properties, more = schema.get("properties", {}), schema.get("additionalProperties")
        if isinstance(more, Mapping):
            keys = [key for key in value if key not in properties]
            return {key: self.value(value[key], more, f"{path}.{key}".strip("."), depth) for key in keys}
        return {} if properties else dict(value)

    # --- arrays and scalars

    def _array(self, value: Any, schema: Schema, path: str, depth: int) -> Any:
        value, items = _parsed(value), schema.get("items", {})
        if value is None:
            return []
        if isinstance(value, Mapping):
            value = list(value.values()) if value and all(str(key).isdecimal() for key in value) else [value]
        if not isinstance(value, list):
            raise Misfit(f"{_place(path)} is {_shown(value)}, but must be a list")
        if self._type(items) == "string":
            value = [_only_text(item) for item in value]
        return [self.value(item, items, f"{path}[{number}]", depth) for number, item in enumerate(value)]

    def _integer(self, value: Any, schema: Schema, path: str, depth: int) -> int:
        is_binary = (schema.get("minimum"), schema.get("maximum")) == (0, 1)
        number = _as_number(_only_member(value), with_words=is_binary)
        if number is None or number != int(number):
            raise Misfit(f"{_place(path)} is {_shown(value)}, but must be a whole number{_range(schema)}")
        return int(_in_range(int(number), schema, path, "a whole number"))

    def _number(self, value: Any, schema: Schema, path: str, depth: int) -> float:
        number = _as_number(_only_member(value), with_words=False)
        if number is None:
            raise Misfit(f"{_place(path)} is {_shown(value)}, but must be a number{_range(schema)}")
        return _in_range(number, schema, path, "a number")

    def _boolean(self, value: Any, schema: Schema, path: str, depth: int) -> bool:
        number = _as_number(_only_member(value), with_words=True)
        if number not in (0, 1):
            raise Misfit(f"{_place(path)} is {_shown(value)}, but must be true or false")
        return bool(number)

    def _string(self, value: Any, schema: Schema, path: str, depth: int) -> str:
        value = _only_member(value)
        if isinstance(value, str):
            return value
        if isinstance(value, bool | int | float):
            return json.dumps(value)
        raise Misfit(f"{_place(path)} is {_shown(value)}, but must be a text")

    def _null(self, value: Any, schema: Schema, path: str, depth: int) -> None:
        if value is not None:
            raise Misfit(f"{_place(path)} is {_shown(value)}, but must be null")


def _parsed(value: Any) -> Any:
    """The parsed JSON in a JSON string; any other value unchanged."""
    if isinstance(value, str) and value.strip()[:1] in ("{", "["):
        try:
            return json.loads(value, strict=False)
        except (ValueError, RecursionError):
            return value
    return value


def _plain(name: str) -> str:
    """A normalised name, without case, spaces, hyphens and underscores."""
    return re.sub(r"[^a-z0-9]", "", name.lower()) or name


def _is_explaining(name: str) -> bool:
    return _plain(name) in EXPLAINING


def _by_property(value: Mapping[str, Any], properties: Mapping[str, Any]) -> dict[str, Any]:
    """The members of an object by the schema's names for them."""
    varied: dict[str, Any] = {}
    for key in value:
        varied.setdefault(_plain(str(key)), value[key])
    return {
        name: value[name] if name in value else varied[_plain(name)]
        for name in properties
        if name in value or _plain(name) in varied
    }


def _wrapped(value: Mapping[str, Any], properties: Mapping[str, Any], title: str) -> Any:
    """The content of a wrapper: `{"result": {...}}`, the schema with values in its place, or the call of a tool."""
    if "properties" not in properties and isinstance(value.get("properties"), Mapping):
        return value["properties"]
    for name in ("arguments", "parameters", "input"):
        if "name" in value and name in value and name not in properties:
            return value[name]
    insides = [key for key in value if isinstance(_parsed(value[key]), Mapping | list)]
    named = [key for key in insides if title and _plain(str(key)) == _plain(title)]
    if named or (len(insides) == 1 and _plain(str(insides[0])) not in map(_plain, properties)):
        return _parsed(value[(named or insides)[0]])
    return None


def _is_alike(value: Any, properties: Mapping[str, Any]) -> bool:
    """True for an object with any of these members, whose mistakes are worth reporting."""
    value = value[0] if isinstance(value, list) and value else value
    return isinstance(value, Mapping) and bool(_by_property(value, properties))


def _wraps(value: list[Any]) -> bool:
    """True for a list around one object that has a list, as opposed to a list of items."""
    return len(value) == 1 and isinstance(value[0], Mapping) and any(isinstance(v, list) for v in value[0].values())


def _only_text(item: Any) -> Any:
    """The text in an object that holds one, such as `{"id": 1, "statement": "..."}`."""
    if isinstance(item, Mapping):
        texts = [value for value in item.values() if isinstance(value, str)]
        return texts[0] if len(texts) == 1 else item
    return item


def _only_member(value: Any) -> Any:
    """The value in a list of one, or in a part of a schema with the value in it: `{"type": "integer", "value": 1}`."""
    if isinstance(value, list) and len(value) == 1:
        return value[0]
    return value["value"] if isinstance(value, Mapping) and "value" in value else value


def _as_number(value: Any, *, with_words: bool) -> float | None:
    if isinstance(value, bool):
        return float(value) if with_words else None
    if isinstance(value, str):
        text = value.strip().strip("\"'`*.").lower()
        if with_words and text in _WORDS:
            return _WORDS[text]
        value = float(text) if re.fullmatch(r"[+-]?\d{1,15}(\.\d+)?", text) else None
    is_finite = isinstance(value, int | float) and value == value and abs(value) < 1e15
    return value if is_finite else None


def _in_range(number: float, schema: Schema, path: str, kind: str) -> float:
    if schema.get("minimum", number) <= number <= schema.get("maximum", number):
        return number
    raise Misfit(f"{_place(path)} is {_shown(number)}, but must be {kind}{_range(schema)}")


def _range(schema: Schema) -> str:
    least, most = schema.get("minimum"), schema.get("maximum")
    if least is not None and most is not None:
        return f" from {least} to {most}"
    return f" of at least {least}" if least is not None else f" of at most {most}" if most is not None else ""


def _one_of(value: Any, allowed: list[Any], path: str) -> Any:
    if any(value == option and type(value) is type(option) for option in allowed):
        return value
    alike = [option for option in allowed if str(option).strip().lower() == str(value).strip().lower()]
    if len(alike) == 1:
        return alike[0]
    raise Misfit(f"{_place(path)} is {_shown(value)}, but must be one of: {', '.join(map(str, allowed))}")


def _place(path: str) -> str:
    return f"`{path}`" if path else "the answer"


def _names(names: Any) -> str:
    return ", ".join(f"`{name}`" for name in list(names)[:12])


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."
