"""Uploads files, folders and downloads to storage."""

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
    """The outcome for one source. `file` is its key in storage, "" if it was not uploaded."""

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
    """Upload documents to storage: files, whole folders, and downloads from http(s) URLs. Unchanged files are skipped.

    An object of the same name from an earlier call is replaced. Different files of the same name within one call are
    all kept: later ones get a digest in their names.

    Args:
        sources: paths or URLs.
        max_file_mb: the size limit in millions of bytes; larger files are refused.
        show: shows progress (see `dream.progress`).

    Raises:
        StorageError: if storage fails; sources that cannot be read are only reported.
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
    """Upload a file; `digests` maps the names used by this call to the digests of their files."""
    file_digest = local_files.digest(file.path)
    key = file.name
    if digests.setdefault(key, file_digest) != file_digest:
        key = str(PurePosixPath(key).with_stem(f"{PurePosixPath(key).stem}-{file_digest[:8]}"))
    existed = storage.exists(key)
    sent = storage.upload(file.path, key)
    return UploadReport(file.source, "already there" if not sent else "replaced" if existed else "uploaded", key)
