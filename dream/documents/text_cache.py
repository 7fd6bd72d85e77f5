"""The texts of documents in the cache, for `dream cache`."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

from dream.documents.file_types import ReadingOptions
from dream.documents.text_store import FOLDER, readers_version
from dream.storage import Storage, StoredObject

CURRENT, OTHERS = "texts of documents", "texts of documents by other readers"


@dataclass(frozen=True)
class KeptTexts:
    """The texts of the readers in use, or those of other versions and options; sizes in bytes, times in seconds since
    1970."""

    name: str
    entries: int
    bytes: int
    oldest: float
    newest: float


def contents(storage: Storage, options: ReadingOptions) -> list[KeptTexts]:
    """The texts in the cache: those that files are found by when they are read with `options`, and others."""
    groups: dict[str, list[StoredObject]] = {}
    for name, item in _objects(storage, options):
        groups.setdefault(name, []).append(item)
    return [
        KeptTexts(
            name,
            sum(_is_text(item) for item in items),
            sum(item.size for item in items),
            min(item.modified for item in items),
            max(item.modified for item in items),
        )
        for name, items in sorted(groups.items())
    ]


def empty(storage: Storage, options: ReadingOptions, *, older_than_days: float = 0, name: str = "") -> int:
    """Delete texts; returns the number of freed bytes. Deleted texts are extracted again when needed.

    Args:
        older_than_days: keep younger ones; 0 deletes all.
        name: a substring of `KeptTexts.name`; "" selects all.
    """
    before, freed = time.time() - older_than_days * 86_400, 0
    for group, item in list(_objects(storage, options)):
        if name in group and item.modified <= before:
            storage.delete(item.key)
            freed += item.size
    return freed


def _objects(storage: Storage, options: ReadingOptions) -> Iterator[tuple[str, StoredObject]]:
    """All objects, each with the name of its group. What is for all readers goes with those in use."""
    current = readers_version(options)
    for item in storage.list(f"{FOLDER}/"):
        folder, _, rest = item.key.removeprefix(f"{FOLDER}/").partition("/")
        version = rest.partition(".")[0].partition("-")[2] if folder == "listings" else folder
        yield CURRENT if version in ("", "counts", current) else OTHERS, item


def _is_text(item: StoredObject) -> bool:
    """True for the text of a file, false for what is kept beside texts."""
    folder, _, rest = item.key.removeprefix(f"{FOLDER}/").partition("/")
    return folder not in ("listings", "counts") and not rest.startswith("sets/")
