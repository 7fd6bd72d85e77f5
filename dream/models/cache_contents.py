"""The contents of the cache of model answers: lists, finds and deletes entries."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from dream.models.cache_format import ANSWERS, VECTORS, Entry, read_answers, read_pack
from dream.storage import Storage, StoredObject


@dataclass(frozen=True)
class CachedModel:
    """The cache entries of one model: number, size in bytes, and times in seconds since 1970."""

    model: str
    entries: int
    bytes: int
    oldest: float
    newest: float


def contents(storage: Storage) -> list[CachedModel]:
    """The contents of the cache by model."""
    models: dict[str, list[StoredObject]] = {}
    for item in _objects(storage):
        models.setdefault(item.key.split("/")[1], []).append(item)
    return [
        CachedModel(
            model,
            _n_entries(storage, items),
            sum(item.size for item in items),
            min(item.modified for item in items),
            max(item.modified for item in items),
        )
        for model, items in sorted(models.items())
    ]


def _n_entries(storage: Storage, items: Sequence[StoredObject]) -> int:
    single = sum(item.key.endswith(".json") for item in items)
    return single + sum(len(storage.read_bytes(item.key).split()) for item in items if item.key.endswith(".keys"))


@dataclass(frozen=True)
class CachedEntry:
    """An entry with its key, and the folder of its model (`CachedModel.model`)."""

    model: str
    key: str
    entry: Entry


def find(storage: Storage, prefix: str) -> list[CachedEntry]:
    """The valid entries whose keys begin with a prefix, each key once."""
    found = dict[tuple[str, str], CachedEntry]()
    for item in _objects(storage):
        kind, model, *_, name = item.key.split("/")
        if name.endswith(".keys"):
            keys = storage.read_bytes(item.key).decode(errors="replace").split()
            read, place = read_pack if kind == VECTORS else read_answers, item.key.removesuffix(".keys")
        else:
            keys, read, place = [name.removesuffix(".json")], read_answers, item.key
        if name.endswith((".keys", ".json")) and any(key.startswith(prefix) for key in keys):
            entries = {key: entry for key, entry in read(storage, place).items() if key.startswith(prefix)}
            found |= {(model, key): CachedEntry(model, key, entry) for key, entry in entries.items()}
    return list(found.values())


def empty(storage: Storage, *, older_than_days: float = 0, model: str = "") -> int:
    """Delete cache entries; returns the number of freed bytes.

    Args:
        older_than_days: keep younger entries; 0 deletes all.
        model: a substring of `CachedModel.model`; "" selects all models.
    """
    before = time.time() - older_than_days * 86_400
    freed = 0
    for item in _objects(storage):
        if model in item.key.split("/")[1] and item.modified <= before:
            storage.delete(item.key)
            freed += item.size
    return freed


def _objects(storage: Storage) -> Iterator[StoredObject]:
    for kind in (ANSWERS, VECTORS):
        yield from storage.list(f"{kind}/")
