"""An index as a value: its key, and its compact form in memory and in storage.

In memory: the vectors are one numpy array and the nodes one Arrow table, so that Ray shares both between the
processes of a machine without a copy. In storage, below `<cache_uri>/indexes/<key>/`:

    vectors.npy      unit vectors in float32, one row per embedded node, in the order of the nodes nodes.parquet    the
    nodes, one row each (`SCHEMA`, and contexts if there are any, with failures of the LLM that wrote them)
    manifest.json    the inputs of the index, and digests of both files; written last, so without it there is no index
"""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy
import pyarrow
from pyarrow import parquet

from dream.documents.stored_documents import StoredDocuments
from dream.errors import DreamError, ServiceError
from dream.indexes import contexts, headings
from dream.models.vector_reading import distinct
from dream.records import digest, digest_of_list
from dream.storage import Storage, local_files

if TYPE_CHECKING:
    from llama_index.core import Document

# Increment this when the same documents and parameters give another index.
BUILDER_VERSION = 2
FOLDER = "indexes"
# The norm of a unit vector in float32 differs from 1 by less.
NORM_TOLERANCE = 1e-3
# The number of texts that are compared to detect a model that returns the same vector for all.
ENOUGH_TEXTS = 100
VECTORS, NODES, MANIFEST = "vectors.npy", "nodes.parquet", "manifest.json"

# `parent`, `previous` and `next` are row numbers, or NOWHERE. A node's id contains its row number.
NOWHERE = -1
_LABEL = pyarrow.dictionary(pyarrow.int32(), pyarrow.string())
SCHEMA = pyarrow.schema(
    {
        "text": pyarrow.large_string(),
        "start": pyarrow.int64(),  # characters in the file's text; NOWHERE if the text was not found in it
        "end": pyarrow.int64(),
        "file_name": _LABEL,
        "file_digest": _LABEL,
        "page_label": _LABEL,
        "parent": pyarrow.int32(),
        "previous": pyarrow.int32(),
        "next": pyarrow.int32(),
        "embedded": pyarrow.bool_(),
    }
)

_CONTEXTUAL = SCHEMA.append(contexts.COLUMN)
_SCHEMAS = (SCHEMA, _CONTEXTUAL, _CONTEXTUAL.append(contexts.FAILURE))


@dataclass(frozen=True)
class IndexSpec:
    """All inputs of an index. `endpoint` has the URLs of its models (embedding model, and LLM that writes contexts), as
    names of models are not unique. Without an `embed_model`, the index has no vectors."""

    documents: str
    chunker: str
    parameters: Mapping[str, Any]
    embed_model: str
    endpoint: str

    @property
    def key(self) -> str:
        """The index's name in storage, a digest of all inputs."""
        parts = {**asdict(self), "builder": BUILDER_VERSION, "parsers": version("llama-index-core")}
        if contexts.follows_headings(self.chunker, self.parameters):
            parts["headings"] = headings.VERSION
        if contexts.writer_of(self.parameters):
            parts["contexts"] = contexts.WRITING_VERSION
        return digest(parts)[:32]


@dataclass(frozen=True)
class IndexData:
    """Unit vectors (float32, one row per embedded node, in the order of the nodes) and the nodes (`SCHEMA`)."""

    vectors: numpy.ndarray
    nodes: pyarrow.Table


def documents_digest(documents: Sequence["Document"]) -> str:
    """SHA-256 of everything in documents that affects an index: their texts in order, file names and pages.

    (`LoadedDocuments.digest` does not include names and order, which are part of an index's nodes.)
    """
    if isinstance(documents, StoredDocuments):
        return documents.digest_with_names
    labels = ("file_name", "page_label", "file_digest")
    return digest_of_list([document.text, *(document.metadata[label] for label in labels)] for document in documents)


def vectors_problem(vectors: Sequence[numpy.ndarray], n_texts: int) -> str | None:
    """The problem with the unit vectors of an index; None if every text has a searchable vector.

    Args:
        vectors: the parts, as embedded.
        n_texts: the number of embedded nodes.
    """
    lengths = sorted({part.shape[1] for part in vectors if part.ndim == 2})
    if any(part.ndim != 2 for part in vectors) or len(lengths) != 1 or lengths == [0]:
        return (
            f"all vectors need the same length, above 0, but the lengths are: {', '.join(map(str, lengths)) or 'none'}"
        )
    if (n_vectors := sum(map(len, vectors))) != n_texts:
        return f"there are {n_vectors:,} vectors for {n_texts:,} texts"
    for part in vectors:
        squares = numpy.einsum("ij,ij->i", part, part)  # without a copy of the part
        wrong = ~(numpy.abs(squares - 1) < 2 * NORM_TOLERANCE)  # also true for NaN
        if wrong.any():
            return f"{int(wrong.sum()):,} vectors have no direction: they contain only zeros or no finite numbers"
    return None


def are_all_equal(vectors: Sequence[numpy.ndarray], texts: Sequence[str]) -> bool:
    """True if the first texts differ, but all have the same vector, which makes search impossible."""
    rows = [row for part in vectors for row in part[:ENOUGH_TEXTS]][: len(texts)]
    return len(distinct(texts)) > 1 and all((row == rows[0]).all() for row in rows)


def join(tables: Sequence[pyarrow.Table], vectors: Sequence[numpy.ndarray]) -> IndexData:
    """Join the nodes and vectors of several batches of documents, in their order, into one index.

    Raises:
        ServiceError: if the vectors do not match the nodes.
    """
    n_texts = sum(map(count_embedded, tables))
    problem = vectors_problem(vectors, n_texts)
    if problem is None and are_all_equal(vectors, _embedded_texts(tables)):
        problem = f"all {n_texts:,} texts have the same vector"
    if problem:
        raise ServiceError(f"the embedding model's vectors are not usable: {problem}. Check it with `dream doctor`")
    return IndexData(numpy.concatenate(vectors), _joined(tables))


def without_vectors(tables: Sequence[pyarrow.Table]) -> IndexData:
    """An index of the nodes of several batches of documents, for word search only."""
    return IndexData(numpy.empty((0, 1), numpy.float32), _joined(tables))


def count_embedded(nodes: pyarrow.Table) -> int:
    """The number of searchable nodes, which have vectors if the index has any."""
    return int(numpy.count_nonzero(nodes["embedded"].to_numpy()))


def _joined(tables: Sequence[pyarrow.Table]) -> pyarrow.Table:
    """The nodes of several batches of documents as one table."""
    offset, moved = 0, []
    for table in tables:
        for column in ("parent", "previous", "next"):
            rows = table[column].to_numpy()
            shifted = pyarrow.array(numpy.where(rows == NOWHERE, NOWHERE, rows + offset), pyarrow.int32())
            table = table.set_column(table.schema.get_field_index(column), column, shifted)
        moved.append(table)
        offset += len(table)
    return pyarrow.concat_tables(moved).unify_dictionaries().combine_chunks()


def save_index(storage: Storage, spec: IndexSpec, data: IndexData) -> None:
    """Store an index; an existing one with the same key is replaced.

    Raises:
        StorageError: if storage fails; an incomplete index is not used.
    """
    folder_key = f"{FOLDER}/{spec.key}"
    with tempfile.TemporaryDirectory(prefix="dream-index-") as folder:
        paths = {name: Path(folder, name) for name in (VECTORS, NODES)}
        numpy.save(paths[VECTORS], data.vectors, allow_pickle=False)
        parquet.write_table(data.nodes, paths[NODES], compression="zstd")
        manifest = {
            **asdict(spec),
            "builder": BUILDER_VERSION,
            "nodes": len(data.nodes),
            "vectors": list(data.vectors.shape),
            "files": {
                name: {"bytes": path.stat().st_size, "sha256": local_files.digest(path)} for name, path in paths.items()
            },
            "made": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        storage.delete(f"{folder_key}/{MANIFEST}")
        for name, path in paths.items():
            storage.upload(path, f"{folder_key}/{name}")
        storage.write_json(f"{folder_key}/{MANIFEST}", manifest)


def is_stored(storage: Storage, spec: IndexSpec) -> bool:
    """True if storage has a finished index with this key; damage is only detected on loading."""
    return storage.exists(f"{FOLDER}/{spec.key}/{MANIFEST}")


def stored_spec(storage: Storage, key: str) -> IndexSpec | None:
    """The specification of a stored index by its key; None if there is none."""
    try:
        manifest = storage.read_json(f"{FOLDER}/{key}/{MANIFEST}")
        return IndexSpec(**{each.name: manifest[each.name] for each in fields(IndexSpec)})
    except (OSError, ValueError, LookupError, TypeError):
        return None


def stored_bytes(storage: Storage, spec: IndexSpec) -> int | None:
    """The size in bytes of a stored index; None if there is none, or storage cannot be read."""
    try:
        manifest = storage.read_json(f"{FOLDER}/{spec.key}/{MANIFEST}")
        return sum(int(file["bytes"]) for file in manifest["files"].values())
    except (DreamError, ValueError, LookupError, TypeError, AttributeError):
        return None


def load_index(storage: Storage, spec: IndexSpec) -> IndexData | None:
    """The index with this key; None if it is missing, incomplete or damaged, if an earlier version stored faulty
    vectors, or if storage cannot be read."""
    folder_key = f"{FOLDER}/{spec.key}"
    try:
        manifest = storage.read_json(f"{folder_key}/{MANIFEST}")
        with tempfile.TemporaryDirectory(prefix="dream-index-") as folder:
            for name in (VECTORS, NODES):
                storage.download(f"{folder_key}/{name}", Path(folder, name))
                if local_files.digest(Path(folder, name)) != manifest["files"][name]["sha256"]:
                    return None
            return _read(Path(folder), has_vectors=bool(spec.embed_model))
    except (OSError, ValueError, LookupError, TypeError, pyarrow.ArrowException):
        return None


def _embedded_texts(tables: Sequence[pyarrow.Table]) -> list[str]:
    """The first `ENOUGH_TEXTS` texts with vectors."""
    texts: list[str] = []
    for table in tables:
        if len(texts) < ENOUGH_TEXTS:
            texts += table.filter(table["embedded"])["text"].slice(0, ENOUGH_TEXTS - len(texts)).to_pylist()
    return texts


def _read(folder: Path, has_vectors: bool) -> IndexData | None:
    vectors = numpy.load(folder / VECTORS, allow_pickle=False)
    nodes = parquet.read_table(folder / NODES, memory_map=False)
    if nodes.schema not in _SCHEMAS or vectors.dtype != numpy.float32 or vectors.ndim != 2:
        return None
    nodes = nodes.unify_dictionaries().combine_chunks()
    if not has_vectors:
        return None if len(vectors) else IndexData(vectors, nodes)
    if vectors_problem([vectors], count_embedded(nodes)):
        return None
    return None if are_all_equal([vectors], _embedded_texts([nodes])) else IndexData(vectors, nodes)
