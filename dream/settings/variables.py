"""Fields of a dataclass that are read from environment variables."""

import os
from collections.abc import Callable, Mapping
from dataclasses import field, fields
from typing import Any

from dotenv import dotenv_values, find_dotenv

from dream.errors import ConfigurationError
from dream.settings.readers import Reader


def variable(
    names: str, read: Reader, default: str | None = None, *, secret: bool = False, required: bool = False
) -> Any:
    """A field that is read from a variable, or from the first of several that is set.

    `default` is a text, in which braces hold names of the `defaults` of `read_fields`; without one, the field is None.
    """
    metadata = {"names": names.split(), "read": read, "default": default}
    if required or default is not None:
        return field(repr=not secret, metadata=metadata)
    return field(default=None, repr=not secret, metadata=metadata)


def names_of(table: type) -> list[str]:
    """The variables of a table in their order, each by the first of its names."""
    return [item.metadata["names"][0] for item in fields(table) if item.metadata]


def process_variables() -> dict[str, str]:
    """The variables of this process and of the nearest `.env` file, over which the process's own take precedence."""
    from_file = {name: value for name, value in dotenv_values(find_dotenv(usecwd=True)).items() if value is not None}
    return {**from_file, **os.environ}


def read_fields(
    table: type,
    values: Mapping[str, str],
    defaults: Mapping[str, str],
    problems: list[str],
    full_name: Callable[[str], str] = str,
) -> dict[str, Any]:
    """The values of a table's fields by field name; mistakes are added to `problems`.

    Args:
        defaults: texts for the names in braces in the fields' defaults.
        full_name: makes the name of a variable from the name that a field has for it.
    """
    read: dict[str, Any] = {}
    for item in (item for item in fields(table) if item.metadata):
        names = [*map(full_name, item.metadata["names"])]
        name = next((name for name in names if name in values), names[0])
        default = item.metadata["default"]
        text = values.get(name, default and default.format_map(defaults))
        try:
            read[item.name] = None if text is None else item.metadata["read"](name, text)
        except ConfigurationError as error:
            problems.append(str(error))
    return read
