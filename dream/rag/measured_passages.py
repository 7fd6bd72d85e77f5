"""`MeasuredPassages`: the number of passages that trials read, measured once and stored with the texts of the
documents.

<cache>/texts/passages/<digest of documents, questions and code>.json.gz    mean numbers of passages by retrieval
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from dream.documents.stored_documents import StoredDocuments
from dream.indexes.store import documents_digest
from dream.records import digest
from dream.runtime.provenance import code_versions


class MeasuredPassages:
    """Numbers of passages of retrievals over the same documents and questions, by a text that identifies the retrieval.

    For documents that are not in storage, they are only kept in this object.
    """

    def __init__(self, documents: Sequence[Any], questions: Sequence[str]) -> None:
        self._texts = documents.texts if isinstance(documents, StoredDocuments) else None
        self._key = ""
        self._kept: dict[str, float] = {}
        if self._texts is not None:
            what = [documents_digest(documents), self._texts.version, list(questions), code_versions()]
            self._key = f"passages/{digest(what)[:32]}.json.gz"
            self._kept = _readable(self._texts.read_value(self._key))

    def get(self, retrieval: str) -> float | None:
        """The mean number of passages; None if it was not measured."""
        return self._kept.get(retrieval)

    def keep(self, measured: Mapping[str, float]) -> None:
        """Store further numbers; without any, nothing is written."""
        if measured:
            self._kept |= measured
            if self._texts is not None:
                self._texts.write_value(self._key, self._kept)


def _readable(value: Any) -> dict[str, float]:
    if not isinstance(value, dict):
        return {}
    return {name: n for name, n in value.items() if isinstance(n, int | float) and math.isfinite(n) and n >= 0}
