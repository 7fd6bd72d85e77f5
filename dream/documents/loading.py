"""Loading of files in storage as LlamaIndex Documents with stable ids and page labels.

A file that cannot be read is reported with reason and remedy; the others are loaded.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Literal

from dream.documents.file_types import Reading
from dream.documents.readers import read_file
from dream.documents.sources import MAX_FILE_MB, is_hidden, printable, refusal, report_line
from dream.documents.uploading import UploadReport as UploadReport, prepare_documents as prepare_documents
from dream.errors import DataError, StorageError, bullets
from dream.progress import Show, reporter_for
from dream.records import digest
from dream.storage import Storage, check_key

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
        without = f" without {', '.join(self.left_out)}" if self.left_out else ""
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
    storage: Storage, *, keys: Iterable[str] | None = None, max_file_mb: float = MAX_FILE_MB, show: Show = None
) -> LoadedDocuments:
    """Load all documents in storage except hidden files, or those of `keys`.

    A document's id is `<first 16 digits of the file's SHA-256>-p<page number>`; its metadata (`file_name`,
    `page_label`, `file_digest`) is hidden from the embedding model and the LLM, which see only the text.

    Args:
        keys: the objects to load; None for all.
        max_file_mb: the size limit in millions of bytes; larger files are skipped.
        show: where progress is shown (see `dream.progress`).

    Raises:
        DataError: if there is no file, or no readable file.
        StorageError: if storage fails; an outage is not reported as an unreadable file.
    """
    sizes = {item.key: item.size for item in storage.list()}
    names = [key for key in sizes if not is_hidden(key)] if keys is None else list(keys)
    if not names:
        raise DataError(f"there is no document in {storage.uri()}: add some with `dream prepare FOLDER-OR-URL`")
    documents: list[Document] = []
    report: list[FileReport] = []
    first_names: dict[str, str] = {}
    names = sorted(set(names))
    with reporter_for(show).task("reading documents", len(names), "files") as task:
        for name in names:
            reading, file_digest = _read(storage, name, sizes.get(name, 0), max_file_mb, first_names)
            status = "skipped" if not reading.pages else "read" if reading.complete else "partly"
            report.append(FileReport(name, status, reading.n_pages, reading.problem, reading.remedy, reading.left_out))
            documents += _documents(name, file_digest, reading)
            task.advance()
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


def _read(
    storage: Storage, name: str, size: int, max_file_mb: float, first_names: dict[str, str]
) -> tuple[Reading, str]:
    """The text of a file, and its SHA-256; `first_names` maps the digests of files read so far to their names."""
    if refused := refusal(name, size, max_file_mb):
        return refused, ""
    try:
        check_key(name)
    except StorageError as error:
        return Reading(problem=str(error), remedy="rename it"), ""
    content = storage.read_bytes(name)
    file_digest = sha256(content).hexdigest()
    if original := first_names.get(file_digest):
        return Reading(problem=f"the same content as {printable(original)}", remedy="nothing is lost"), file_digest
    reading = read_file(name, content)
    if reading.pages:
        first_names[file_digest] = name
    return reading, file_digest


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
