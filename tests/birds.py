"""Documents about birds, three for each, that are alike but for the place: search by words finds as many as `top_k`."""

from collections.abc import Iterable

from dream.settings import Settings
from dream.storage import open_storage

PLACES = ("harbour", "lighthouse", "reservoir")


def write_documents(settings: Settings, birds: Iterable[str]) -> None:
    """Write a file `<bird>-<place>.txt` for each place of each bird."""
    storage = open_storage(settings.documents_uri, settings)
    storage.ensure()
    for bird in birds:
        for place in PLACES:
            storage.write_bytes(f"{bird}-{place}.txt", f"A {bird} rested by the old {place} at dawn.".encode())
