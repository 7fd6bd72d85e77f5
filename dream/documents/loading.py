"""Loading of files in storage as LlamaIndex Documents with stable ids and page labels.

A file that cannot be read is reported with reason and remedy; the others are loaded.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Literal

from dream.documents.file_types import Reading, ReadingOptions, extension
from dream.documents.parsing import FileToRead, Submit, read_files
from dream.documents.sources import MAX_FILE_MB, is_hidden, printable, refusal, report_line
from dream.documents.text_store import TextStore
from dream.documents.uploading import UploadReport as UploadReport, prepare_documents as prepare_documents
from dream.errors import DataError, StorageError, bullets
from dream.progress import Reporter, Show, Task, reporter_for
from dream.records import digest
from dream.settings import Settings
from dream.storage import Storage, StoredObject, check_key, open_storage

if TYPE_CHECKING:
    from llama_index.core import Document

PAGE_BREAK = "\n\n"


@dataclass(frozen=True)
class FileReport:
    """The outcome for one file. With the status "partly", some text is missing or may be wrong (see `problem`).

    `left_out` names what is not in the text on purpose: headers, footers, hidden slides.
    """

    file: str
    status: Literal["read", "partly", "skipped"]
    pages: int = 0
    problem: str = ""
    remedy: str = ""
    left_out: tuple[str, ...] = ()

    def __str__(self) -> str:
        pages = f", {self.pages} page{'s' * (self.pages != 1)}" if self.pages else ""
        without = f", without {', '.join(self.left_out)}" if self.left_out else ""
        return report_line(self.status, printable(self.file) + pages + without, self.problem, self.remedy)


@dataclass(frozen=True)
class LoadedDocuments:
    """A Document per page with text, ordered by file name, and a report per file."""

    documents: "tuple[Document, ...]"
    report: tuple[FileReport, ...]

    @property
    def digest(self) -> str:
        """SHA-256 of all text, independent of the names and order of the files."""
        return digest(sorted([document.id_, document.text] for document in self.documents))

    def __str__(self) -> str:
        return "\n".join(map(str, self.report))


def load_documents(
    storage: Storage,
    *,
    keys: Iterable[str] | None = None,
    max_file_mb: float = MAX_FILE_MB,
    show: Show = None,
    cache: Storage | None = None,
    options: ReadingOptions | None = None,
    settings: Settings | None = None,
    submit: Submit | None = None,
) -> LoadedDocuments:
    """Load all documents in storage except hidden files, or those of `keys`.

    A document's id is `<first 16 digits of the file's SHA-256>-p<page number>`; its metadata (`file_name`,
    `page_label`, `file_digest`) is hidden from the embedding model and the LLM, which see only the text.

    Files are read by several processes where there is much to read. With a cache, each is read once.

    Args:
        keys: the objects to load; None for all.
        max_file_mb: the size limit in millions of bytes; larger files are skipped.
        show: where progress is shown (see `dream.progress`).
        cache: where the text of files is kept, and found again.
        options: how files are read.
        settings: give cache and options, where these are not given.
        submit: runs the reading of a file elsewhere (`dream.engines.Engine.submit`).

    Raises:
        DataError: if there is no file, or no readable file.
        StorageError: if storage fails; an outage is not reported as an unreadable file.
    """
    objects = {item.key: item for item in storage.list()}
    names = [key for key in objects if not is_hidden(key)] if keys is None else list(keys)
    if not names:
        raise DataError(f"there is no document in {storage.uri()}: add some with `dream prepare FOLDER-OR-URL`")
    if settings is not None:
        cache = cache or open_storage(settings.cache_uri, settings)
        options = options or ReadingOptions(settings.repeated_lines, settings.ocr_command)
    options = options or ReadingOptions()
    reader = _Reader(storage, objects, TextStore(cache, options), options, submit)
    readings = reader.read(sorted(set(names)), max_file_mb, reporter_for(show))
    documents: list[Document] = []
    report: list[FileReport] = []
    first_names: dict[str, str] = {}
    for name, (reading, file_digest) in sorted(readings.items()):
        if file_digest and (original := first_names.get(file_digest)):
            problem = f"the same content as {printable(original)}"
            reading = Reading(problem=problem, remedy="nothing is lost")
        elif reading.pages:
            first_names[file_digest] = name
        status = "skipped" if not reading.pages else "read" if reading.complete else "partly"
        report.append(FileReport(name, status, reading.n_pages, reading.problem, reading.remedy, reading.left_out))
        documents += _documents(name, file_digest, reading)
    if not documents:
        raise DataError(bullets(f"no document in {storage.uri()} can be read:", [str(line) for line in report]))
    return LoadedDocuments(tuple(documents), tuple(report))


def merge_pages(documents: "Sequence[Document]") -> "list[Document]":
    """Join the pages of each file by an empty line, so that chunks can span pages.

    The id of a joined document is the first 16 digits of the file's SHA-256. `page_of` maps an offset in its text to a
    page.
    """
    files_pages: dict[str, list[Document]] = {}
    for document in documents:
        files_pages.setdefault(document.metadata["file_digest"], []).append(document)
    return [_merged(sorted(pages, key=lambda page: int(page.metadata["page_label"]))) for pages in files_pages.values()]


def page_of(metadata: Mapping[str, Any], offset: int | None) -> str:
    """The label of the page with the character at `offset` of a document of `merge_pages`; `page_label` of any other.

    Example:
        >>> page_of({"page_starts": [[0, "1"], [120, "3"]]}, 125)
        '3'
    """
    starts = metadata.get("page_starts")
    if not starts:
        return metadata.get("page_label", "")
    return starts[max(0, bisect_right(starts, offset or 0, key=lambda start: start[0]) - 1)][1]


class _Reader:
    """Reads files, each content once: from the texts that are kept, or anew."""

    def __init__(
        self,
        storage: Storage,
        objects: Mapping[str, StoredObject],
        texts: TextStore,
        options: ReadingOptions,
        submit: Submit | None,
    ) -> None:
        self._storage, self._objects, self._texts = storage, objects, texts
        self._options, self._submit = options, submit
        self._readings: dict[str, tuple[Reading, str]] = {}  # by name, with the file's digest
        self._digests: dict[str, str] = {}
        self._same: dict[tuple[str, str], list[str]] = {}  # names by digest and extension
        self._pages = 0

    def read(self, names: Sequence[str], max_file_mb: float, reporter: Reporter) -> dict[str, tuple[Reading, str]]:
        """The text of files, and their SHA-256 (empty for those that were not fetched)."""
        with reporter.task("reading documents", len(names), "files") as task:
            for name in names:
                if refused := self._refused(name, max_file_mb):
                    self._take(name, refused, "", task)
            objects = [self._objects[name] for name in self._left(names) if name in self._objects]
            known = self._texts.known_digests(self._storage.uri(), objects)
            for name, reading in self._texts.get_all(known).items():
                self._take(name, reading, known[name], task)
            self._read_anew(self._left(names), task)
            task.facts.pop("pages/s", None)
        digests = {name: file_digest for name, (_, file_digest) in self._readings.items()}
        self._texts.remember(self._storage.uri(), self._objects.values(), digests)
        return self._readings

    def _left(self, names: Iterable[str]) -> list[str]:
        return [name for name in names if name not in self._readings]

    def _refused(self, name: str, max_file_mb: float) -> Reading | None:
        if refused := refusal(name, self._size(name), max_file_mb):
            return refused
        try:
            check_key(name)
        except StorageError as error:
            return Reading(problem=str(error), remedy="rename it")
        return None

    def _size(self, name: str) -> int:
        return self._objects[name].size if name in self._objects else 0

    def _read_anew(self, names: Sequence[str], task: Task) -> None:
        """Fetch files, and read those whose text is not kept."""
        files = [FileToRead(name, self._size(name), partial(self._fetched, name, task)) for name in names]
        for file, reading in read_files(files, self._options, self._submit, partial(task.advance, 0)):
            file_digest = self._digests[file.name]
            self._texts.put(file_digest, file.name, reading)
            for name in self._left(self._same[file_digest, extension(file.name)]):
                self._take(name, reading, file_digest, task)

    def _fetched(self, name: str, task: Task) -> bytes | None:
        """The content of a file to read; None for one whose text is kept, or that is read under another name."""
        content = self._storage.read_bytes(name)
        file_digest = self._digests[name] = sha256(content).hexdigest()
        if (reading := self._texts.get(file_digest, name)) is not None:
            self._take(name, reading, file_digest, task)
            return None
        same = self._same.setdefault((file_digest, extension(name)), [])
        same.append(name)
        if same[0] in self._readings:
            self._take(name, self._readings[same[0]][0], file_digest, task)
        return content if len(same) == 1 else None

    def _take(self, name: str, reading: Reading, file_digest: str, task: Task) -> None:
        self._readings[name] = (reading, file_digest)
        self._pages += reading.n_pages
        rate = f"{self._pages / task.seconds:.0f}" if task.seconds > 1 else ""
        task.facts.update({"pages": f"{self._pages:,}"} if self._pages else {})
        task.advance(1, **({"pages/s": rate} if rate else {}))


def _documents(name: str, file_digest: str, reading: Reading) -> "Iterator[Document]":
    for number, text in reading.pages:
        metadata = {"file_name": name, "page_label": str(number), "file_digest": file_digest}
        yield _document(f"{file_digest[:16]}-p{number}", text, metadata)


def _document(id_: str, text: str, metadata: dict[str, Any]) -> "Document":
    from llama_index.core import Document

    keys = list(metadata)
    excluded = {"excluded_embed_metadata_keys": keys, "excluded_llm_metadata_keys": keys}
    return Document(id_=id_, text=text, metadata=metadata, **excluded)


def _merged(pages: "Sequence[Document]") -> "Document":
    starts, offset = [], 0
    for page in pages:
        starts.append([offset, page.metadata["page_label"]])
        offset += len(page.text) + len(PAGE_BREAK)
    file_name, file_digest = (pages[0].metadata[name] for name in ("file_name", "file_digest"))
    metadata = {"file_name": file_name, "file_digest": file_digest, "page_starts": starts}
    return _document(file_digest[:16], PAGE_BREAK.join(page.text for page in pages), metadata)
