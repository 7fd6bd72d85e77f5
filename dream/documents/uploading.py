"""Files, folders and downloads are put into storage, where every later step finds them."""

import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from dream.documents.sources import MAX_FILE_MB, File, Refused, find_files, printable, report_line
from dream.progress import Show, reporter_for
from dream.storage import Storage, local_files


@dataclass(frozen=True)
class UploadReport:
    """The outcome for one source. `file` is its key in storage, "" where it was not uploaded."""

    source: str
    status: Literal["uploaded", "replaced", "already there", "skipped", "failed"]
    file: str = ""
    problem: str = ""

    def __str__(self) -> str:
        return report_line(self.status, printable(self.file or self.source), self.problem)


def prepare_documents(
    sources: str | Path | Iterable[str | Path],
    storage: Storage,
    *,
    max_file_mb: float = MAX_FILE_MB,
    show: Show = None,
) -> tuple[UploadReport, ...]:
    """Put documents into storage: files, whole folders, and downloads from http(s) URLs; unchanged ones are not sent.

    Files with the same name in one call are distinguished by a digest; otherwise a new version replaces the old one.

    Args:
        max_file_mb: larger files (in millions of bytes) are refused.
        show: shows progress (see `dream.progress`).

    Raises:
        StorageError: when storage fails; a source that fails is only reported.
    """
    storage.ensure()
    sources = [sources] if isinstance(sources, str | Path) else list(sources)
    reporter = reporter_for(show)
    files: list[File | Refused] = []
    report: list[UploadReport] = []
    digests: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        with reporter.task("finding documents", len(sources), "sources") as task:
            for source in sources:
                files += find_files(str(source), Path(folder), max_file_mb)
                task.advance()
        with reporter.task("uploading documents", len(files), "files") as task:
            for file in files:
                report.append(_refused(file) if isinstance(file, Refused) else _upload(file, storage, digests))
                task.advance()
    return tuple(report)


def _refused(refused: Refused) -> UploadReport:
    return UploadReport(refused.source, "skipped" if refused.in_folder else "failed", problem=refused.problem)


def _upload(file: File, storage: Storage, digests: dict[str, str]) -> UploadReport:
    """Send a file; `digests` are those of the names that this call has used."""
    file_digest = local_files.digest(file.path)
    key = file.name
    if digests.setdefault(key, file_digest) != file_digest:
        key = str(PurePosixPath(key).with_stem(f"{PurePosixPath(key).stem}-{file_digest[:8]}"))
    existed = storage.exists(key)
    sent = storage.upload(file.path, key)
    return UploadReport(file.source, "already there" if not sent else "replaced" if existed else "uploaded", key)
