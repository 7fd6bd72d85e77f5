"""Fields of records in JSON."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any


def fields_in(record: type, data: Mapping[str, Any]) -> dict[str, Any]:
    """The entries of `data` that are fields of the record type."""
    return {each.name: data[each.name] for each in fields(record) if each.name in data}
