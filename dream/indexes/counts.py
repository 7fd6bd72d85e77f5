"""Counts of each file's chunks and their tokens, computed once and stored with the texts.

<cache>/texts/counts/<digest of the documents' URI, chunker, parameters and code>.json.gz    `Counts`
"""

import math
from collections.abc import Mapping, Sequence
from functools import cache
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow

from dream import tokens
from dream.documents.file_types import extension
from dream.documents.stored_documents import DocumentFile, StoredDocuments, characters_of
from dream.indexes.builder import CHARACTERS_A_BATCH
from dream.indexes.chunkers import NEED_MODEL, chunk_once, texts_to_embed as texts_of
from dream.indexes.contexts import without_writer
from dream.indexes.semantic_chunker import FULLNESS
from dream.records import digest

# The number of texts to embed and their tokens, by the file's SHA-256 and extension.
Counts = dict[str, tuple[int, int]]


def texts_to_embed(documents: Sequence[Any], chunker: str, parameters: Mapping[str, Any]) -> tuple[int, int]:
    """The number of texts of documents to embed with a chunker, and their tokens.

    Only files of `StoredDocuments` that were not counted before are chunked, in the batches of an index, which a later
    build in this process reuses. If the embedding model determines the chunks, the numbers of sentences and chunks are
    estimated.
    """
    parameters = without_writer(parameters)
    if chunker in NEED_MODEL:
        n_sentences, n_tokens = texts_to_embed(documents, "sentences", {})
        return n_sentences + math.ceil(n_tokens / (FULLNESS * parameters["chunk_size"])), 2 * n_tokens
    if not isinstance(documents, StoredDocuments):
        return _sum(_counted(chunk_once(documents, chunker, parameters)))
    key = _key(documents, chunker, parameters)
    known, new = _known(documents, key), Counts()
    left = documents.only([file.name for file in documents.files if _place(file) not in known])
    for batch in left.batches(CHARACTERS_A_BATCH) if left.files else ():
        counted = _counted(chunk_once(list(batch), chunker, parameters))
        new |= {_place(file): counted.get(file.digest, (0, 0)) for file in batch.files}
    if new:
        documents.texts.write_value(key, {**known, **new})
    return _sum({**known, **new})


def uncounted_characters(documents: Sequence[Any], chunker: str, parameters: Mapping[str, Any]) -> int:
    """The characters of the files that `texts_to_embed` would have to chunk."""
    parameters = without_writer(parameters)
    if chunker in NEED_MODEL:
        return uncounted_characters(documents, "sentences", {})
    if not isinstance(documents, StoredDocuments):
        return characters_of(documents)
    known = _known(documents, _key(documents, chunker, parameters))
    return sum(file.characters for file in documents.files if _place(file) not in known)


def _known(documents: StoredDocuments, key: str) -> Counts:
    """The stored counts of these files."""
    kept, places = documents.texts.read_value(key), {_place(file) for file in documents.files}
    if not isinstance(kept, dict):
        return {}
    good = {place: row for place, row in kept.items() if place in places and isinstance(row, list) and len(row) == 2}
    return {place: (int(row[0]), int(row[1])) for place, row in good.items()}


def _key(documents: StoredDocuments, chunker: str, parameters: Mapping[str, Any]) -> str:
    what = [documents.uri, documents.texts.version, chunker, dict(parameters), _code_version()]
    return f"counts/{digest(what)[:32]}.json.gz"


def _place(file: DocumentFile) -> str:
    return f"{file.digest}{extension(file.name)}"


@cache
def _code_version() -> str:
    """A digest of the code that chunks or counts."""
    modules = [*sorted(Path(__file__).parent.glob("*.py")), Path(tokens.__file__)]
    code = {path.name: sha256(path.read_bytes()).hexdigest() for path in modules}
    return digest([code, version("llama-index-core"), version("tiktoken")])


def _counted(nodes: pyarrow.Table) -> Counts:
    """The texts and tokens of each file, by its SHA-256."""
    embedded, counts = nodes.filter(nodes["embedded"]), Counts()
    for file_digest, text in zip(embedded["file_digest"].to_pylist(), texts_of(nodes), strict=True):
        n_texts, n_tokens = counts.get(file_digest, (0, 0))
        counts[file_digest] = n_texts + 1, n_tokens + tokens.count_tokens(text)
    return counts


def _sum(counts: Counts) -> tuple[int, int]:
    return sum(n_texts for n_texts, _ in counts.values()), sum(n_tokens for _, n_tokens in counts.values())
