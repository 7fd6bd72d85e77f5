"""Loads files in storage as LlamaIndex Documents with stable ids and page labels.

A file that cannot be read is reported with reason and remedy; the others are loaded.
"""

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from dream.documents.file_types import Reading, ReadingOptions, extension
from dream.documents.parsing import FileToRead, Readers, Submit, read_files
from dream.documents.sources import MAX_FILE_MB, is_hidden, printable, refusal, report_line
from dream.documents.stored_documents import HEADINGS, DocumentFile, StoredDocuments, TextSource, new_document
from dream.documents.text_store import TextFacts, TextStore
from dream.documents.uploading import UploadReport as UploadReport, prepare_documents as prepare_documents
from dream.errors import DataError, StorageError, bullets
from dream.progress import Reporter, Show, Task, reporter_for
from dream.settings import Settings
from dream.storage import Storage, StoredObject, check_key, open_storage

if TYPE_CHECKING:
    from llama_index.core import Document

PAGE_BREAK = "\n\n"


@dataclass(frozen=True)
class FileReport:
    """The outcome for one file. With the status "partly", some text is missing or may be wrong (see `problem`).

    `left_out` lists intentionally omitted content: headers, footers, hidden slides.
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
    """A Document per page with text, ordered by file name, and a report per file. With a cache, `documents` is a
    sequence that reads the texts from the cache when it is iterated, file by file.
    """

    documents: StoredDocuments
    report: tuple[FileReport, ...]

    @property
    def digest(self) -> str:
        """SHA-256 of all text, independent of the names and order of the files."""
        return self.documents.digest

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
    `page_label`, `file_digest`) is hidden from the embedding model and the LLM, which see only the text. Large sets of
    files are read by several processes. With a cache, each file is read once, and its text stays in the cache until
    needed; without one, all texts are held in memory.

    Args:
        keys: the objects to load; None for all.
        max_file_mb: the size limit in millions of bytes; larger files are skipped.
        show: shows progress (see `dream.progress`).
        cache: storage for the extracted texts.
        options: options for reading files.
        settings: supply `cache` and `options` if these are not given.
        submit: runs tasks in other processes (`dream.engines.Engine.submit`).

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
        options = options or reading_options(settings)
    options = options or ReadingOptions()
    texts = TextStore(cache, options)
    reader = _Reader(Readers(storage, texts, options), objects, submit)
    found = reader.read(sorted(set(names)), max_file_mb, reporter_for(show))
    files: list[DocumentFile] = []
    report: list[FileReport] = []
    first_names: dict[str, str] = {}
    for name, facts in sorted(found.items()):
        if facts.digest and (original := first_names.get(facts.digest)):
            report.append(
                FileReport(name, "skipped", 0, f"the same content as {printable(original)}", "nothing is lost")
            )
            continue
        if facts.text_pages:
            first_names[facts.digest] = name
            files.append(DocumentFile(name, facts.digest, facts.text_pages, facts.characters))
        status = "skipped" if not facts.text_pages else "read" if facts.complete else "partly"
        report.append(FileReport(name, status, facts.n_pages, facts.problem, facts.remedy, facts.left_out))
    if not files:
        raise DataError(bullets(f"no document in {storage.uri()} can be read:", [str(line) for line in report]))
    return LoadedDocuments(StoredDocuments(files, TextSource(storage, texts, options, reader.held)), tuple(report))


def reading_options(settings: Settings) -> ReadingOptions:
    """The options for reading files in the settings."""
    return ReadingOptions(settings.repeated_lines, settings.ocr_command)


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
    """The label of the page with the character at `offset` in a document of `merge_pages`; for any other document its
    `page_label`.

    Example:
        >>> page_of({"page_starts": [[0, "1"], [120, "3"]]}, 125)
        '3'
    """
    starts = metadata.get("page_starts")
    if not starts:
        return metadata.get("page_label", "")
    return starts[max(0, bisect_right(starts, offset or 0, key=lambda start: start[0]) - 1)][1]


class _Reader:
    """Reads each distinct file content once, and not at all if the file is unchanged or its text is stored.

    `held` has the texts that could not be stored, by digest and extension.
    """

    def __init__(self, readers: Readers, objects: Mapping[str, StoredObject], submit: Submit | None) -> None:
        self._readers, self._objects, self._submit = readers, objects, submit
        self._texts, self._uri = readers.texts, readers.storage.uri()
        self.held: dict[tuple[str, str], Reading] = {}
        self._found: dict[str, TextFacts] = {}
        self._pages = 0

    def read(self, names: Sequence[str], max_file_mb: float, reporter: Reporter) -> dict[str, TextFacts]:
        """The facts about each file, by name; without a digest for files that were not downloaded."""
        with reporter.task("reading documents", len(names), "files") as task:
            for name in names:
                if refused := self._refused(name, max_file_mb):
                    self._take(name, TextFacts.of("", refused), task)
            self._find_unchanged(self._left(names), task)
            self._read_others(self._left(names), task)
            task.facts.pop("pages/s", None)
        digests = {name: facts.digest for name, facts in self._found.items()}
        self._texts.remember(self._uri, self._objects.values(), digests)
        self._remember_facts()
        return self._found

    def _left(self, names: Iterable[str]) -> list[str]:
        return [name for name in names if name not in self._found]

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

    def _find_unchanged(self, names: Sequence[str], task: Task) -> None:
        """Find files that are unchanged according to storage, and whose facts or text are stored."""
        objects = [self._objects[name] for name in names if name in self._objects]
        known = self._texts.known_digests(self._uri, objects)
        before = self._texts.facts(self._uri) if known else {}
        for name in known:
            if name in before and before[name].digest == known[name]:
                self._take(name, before[name], task)
        unsaid = {name: known[name] for name in self._left(known)}
        for name, reading in self._texts.get_all(unsaid):
            self._take(name, TextFacts.of(known[name], reading), task)

    def _read_others(self, names: Sequence[str], task: Task) -> None:
        files = [FileToRead(name, self._size(name)) for name in names]
        for file, found in read_files(files, self._readers, self._submit, partial(task.advance, 0)):
            if found.unkept is not None and found.facts.digest:
                self.held[found.facts.digest, extension(file.name)] = found.unkept
            self._take(file.name, found.facts, task)

    def _remember_facts(self) -> None:
        """Store the facts of all existing files, except for those whose texts could not be stored."""
        before = self._texts.facts(self._uri)
        held = {file_digest for file_digest, _ in self.held}
        kept = {name: facts for name, facts in self._found.items() if facts.digest and facts.digest not in held}
        after = {name: facts for name, facts in {**before, **kept}.items() if name in self._objects}
        if after != before:
            self._texts.keep_facts(self._uri, after)

    def _take(self, name: str, facts: TextFacts, task: Task) -> None:
        self._found[name] = facts
        self._pages += facts.n_pages
        rate = f"{self._pages / task.seconds:.0f}" if task.seconds > 1 else ""
        task.facts.update({"pages": f"{self._pages:,}"} if self._pages else {})
        task.advance(1, **({"pages/s": rate} if rate else {}))


def _merged(pages: "Sequence[Document]") -> "Document":
    starts, headings, offset = [], [], 0
    for page in pages:
        starts.append([offset, page.metadata["page_label"]])
        headings += [[offset + start, offset + end, level] for start, end, level in page.metadata.get(HEADINGS, ())]
        offset += len(page.text) + len(PAGE_BREAK)
    file_name, file_digest = (pages[0].metadata[name] for name in ("file_name", "file_digest"))
    metadata = {"file_name": file_name, "file_digest": file_digest, "page_starts": starts}
    if headings:
        metadata[HEADINGS] = headings
    return new_document(file_digest[:16], PAGE_BREAK.join(page.text for page in pages), metadata)
