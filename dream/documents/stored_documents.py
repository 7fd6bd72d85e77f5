"""Documents whose texts stay in storage until needed, one file at a time."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import TYPE_CHECKING, Any, overload

from dream.documents.file_types import Reading, ReadingOptions, extension
from dream.documents.readers import read_file
from dream.documents.sources import printable
from dream.documents.text_store import TextStore
from dream.errors import DataError
from dream.records import digest, digest_of_list
from dream.storage import Storage

if TYPE_CHECKING:
    from llama_index.core import Document

HEADINGS = "headings"


@dataclass(frozen=True)
class DocumentFile:
    """A file with text: its name, its SHA-256, the number of its pages with text, and the number of their
    characters."""

    name: str
    digest: str
    pages: int
    characters: int


class TextSource:
    """The texts of files in a storage: from the text store or `held`, else by reading the file again.

    Args:
        held: texts that could not be stored, by the file's SHA-256 and extension. They are pickled with the source.
    """

    def __init__(
        self, storage: Storage, texts: TextStore, options: ReadingOptions, held: Mapping[tuple[str, str], Reading]
    ) -> None:
        self.storage, self.texts, self.options, self.held = storage, texts, options, dict(held)

    def reading(self, file: DocumentFile) -> Reading:
        """The text of a file.

        Raises:
            DataError: if the text is no longer stored, and the file has changed.
        """
        held_as = file.digest, extension(file.name)
        reading = self.held.get(held_as) or self.texts.get(file.digest, file.name)
        return self._read_again(file) if reading is None else reading

    def holds(self, file: DocumentFile) -> bool:
        """True if the text of a file travels with this source."""
        return (file.digest, extension(file.name)) in self.held

    def of(self, files: Collection[DocumentFile]) -> "TextSource":
        """The source of some of the files, which holds no text of others."""
        places = {(file.digest, extension(file.name)) for file in files}
        held = {place: self.held[place] for place in self.held.keys() & places}
        return TextSource(self.storage, self.texts, self.options, held)

    def _read_again(self, file: DocumentFile) -> Reading:
        content = self.storage.read_bytes(file.name)
        if sha256(content).hexdigest() != file.digest:
            raise DataError(
                f"{printable(file.name)} in {self.storage.uri()} has changed since it was read: start again, so that "
                f"all documents have the same state"
            )
        reading = read_file(file.name, content, self.options)
        self.texts.put(file.digest, file.name, reading)
        return reading


class StoredDocuments(Sequence["Document"]):
    """The LlamaIndex Documents of files, one for each page with text, in the order of the files.

    They are created on demand, and a pickled copy has only the names and digests of the files: only the texts of one
    file are in memory at a time. Iterate over them; an index or a slice reads the files that it needs.
    """

    def __init__(self, files: Sequence[DocumentFile], source: TextSource) -> None:
        self.files, self._source = tuple(files), source
        self._latest: tuple[DocumentFile, list[Document]] | None = None

    @property
    def characters(self) -> int:
        """The characters of all texts."""
        return sum(file.characters for file in self.files)

    @property
    def digest(self) -> str:
        """SHA-256 of all text, independent of the names and order of the files."""
        return self._digests["text"]

    @property
    def digest_with_names(self) -> str:
        """SHA-256 of all text in order, with the names of the files and the pages."""
        return self._digests["text with names"]

    @property
    def is_shared(self) -> bool:
        """True if other machines can access the texts."""
        return self._source.texts.is_shared

    @property
    def texts(self) -> TextStore:
        """The store of the texts."""
        return self._source.texts

    @property
    def uri(self) -> str:
        """The URI of the folder or bucket of the files."""
        return self._source.storage.uri()

    def can_be_read_here(self) -> bool:
        """True if this process can access the texts, judged by the first one."""
        kept = next((file for file in self.files if not self._source.holds(file)), None)
        return kept is None or self.texts.has(kept.digest, kept.name)

    def only(self, names: Collection[str]) -> "StoredDocuments":
        """The Documents of the files with these names."""
        wanted = set(names)
        return self._of([file for file in self.files if file.name in wanted])

    def batches(self, characters: int) -> "list[StoredDocuments]":
        """The Documents in batches of whole files, each except the last with at least `characters` characters."""
        batches: list[list[DocumentFile]] = [[]]
        left = characters
        for file in self.files:
            if left <= 0:
                batches.append([])
                left = characters
            batches[-1].append(file)
            left -= file.characters
        return [self._of(batch) for batch in batches]

    def __len__(self) -> int:
        return sum(file.pages for file in self.files)

    def __iter__(self) -> "Iterator[Document]":
        for file in self.files:
            yield from documents_of(file.name, file.digest, self._source.reading(file))

    @overload
    def __getitem__(self, index: int) -> "Document": ...

    @overload
    def __getitem__(self, index: slice) -> "list[Document]": ...

    def __getitem__(self, index: int | slice) -> "Document | list[Document]":
        places = range(len(self))[index]
        return self._at(places) if isinstance(places, int) else [self._at(place) for place in places]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, StoredDocuments):
            return NotImplemented
        return self.files == other.files and self.texts.version == other.texts.version

    def __hash__(self) -> int:
        return hash(self.files)

    def __repr__(self) -> str:
        return f"<{len(self)} documents from {len(self.files)} files in {self.uri}>"

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_latest": None}

    def _of(self, files: Sequence[DocumentFile]) -> "StoredDocuments":
        return StoredDocuments(files, self._source.of(files))

    def _at(self, index: int) -> "Document":
        for file in self.files:
            if index < file.pages:
                latest = self._latest
                if latest is None or latest[0] != file:
                    latest = file, list(documents_of(file.name, file.digest, self._source.reading(file)))
                    self._latest = latest
                return latest[1][index]
            index -= file.pages
        raise IndexError(index)

    @cached_property
    def _digests(self) -> dict[str, str]:
        """Both digests, which are stored with the texts."""
        key = f"{self.texts.version}/sets/{digest([[file.name, file.digest] for file in self.files])[:32]}.json.gz"
        kept = self.texts.read_value(key)
        if isinstance(kept, dict) and {*kept} == {"text", "text with names"}:
            return kept
        made = {
            "text": digest_of_list(self._by_id()),
            "text with names": digest_of_list(
                [text, file.name, str(number), file.digest]
                for file in self.files
                for number, text in self._source.reading(file).pages
            ),
        }
        self.texts.write_value(key, made)
        return made

    def _by_id(self) -> Iterator[list[str]]:
        """The id and the text of all Documents, in the order of the ids."""
        for file in sorted(self.files, key=lambda file: file.digest):
            yield from sorted([id_of(file.digest, n), text] for n, text in self._source.reading(file).pages)


def characters_of(documents: "Sequence[Document]") -> int:
    """The number of characters of all texts, without reading texts in storage."""
    if isinstance(documents, StoredDocuments):
        return documents.characters
    return sum(len(document.text) for document in documents)


def id_of(file_digest: str, page: int) -> str:
    """The id of the Document of a page."""
    return f"{file_digest[:16]}-p{page}"


def documents_of(name: str, file_digest: str, reading: Reading) -> "Iterator[Document]":
    """The Documents of a file that was read; `HEADINGS` in their metadata are [start, end, level] in their texts."""
    headings: dict[int, list[list[int]]] = {}
    for page, *span in reading.headings:
        headings.setdefault(page, []).append(span)
    for number, text in reading.pages:
        metadata: dict[str, Any] = {"file_name": name, "page_label": str(number), "file_digest": file_digest}
        if number in headings:
            metadata[HEADINGS] = headings[number]
        yield new_document(id_of(file_digest, number), text, metadata)


def new_document(id_: str, text: str, metadata: dict[str, Any]) -> "Document":
    """A Document whose metadata is hidden from the embedding model and the LLM."""
    from llama_index.core import Document

    keys = list(metadata)
    excluded = {"excluded_embed_metadata_keys": keys, "excluded_llm_metadata_keys": keys}
    return Document(id_=id_, text=text, metadata=metadata, **excluded)
