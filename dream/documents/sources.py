"""Finds the files to upload: single files, folders and downloads."""

import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from dream.documents.file_types import EXTENSIONS, Reading, extension, wrong_content
from dream.errors import DataError, StorageError
from dream.storage import check_key, local_files

MAX_FILE_MB = 50
DOWNLOAD_SECONDS = 30
_NOT_DOCUMENTS = ("Thumbs.db", "desktop.ini", "__MACOSX")
_EXTENSION_OF_TYPE = {
    "application/pdf": ".pdf",
    "text/plain": ".txt",
    "text/csv": ".csv",
    "message/rfc822": ".eml",
    "application/vnd.openxmlformats-officedocument.presentationml.presentation": ".pptx",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": ".xlsx",
    "text/markdown": ".md",
    "text/html": ".html",
    "application/xhtml+xml": ".html",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": ".docx",
}


@dataclass(frozen=True)
class File:
    """A readable document on disk; `name` is its path relative to the source folder, or its file name."""

    source: str
    path: Path
    name: str


@dataclass(frozen=True)
class Refused:
    """A source that cannot be used, with the reason. `in_folder` is true for a file that was found in a folder."""

    source: str
    problem: str
    in_folder: bool = False


def find_files(source: str, downloads: Path, max_file_mb: float) -> Iterator[File | Refused]:
    """The files behind a path or an http(s) URL; downloads are written to the folder `downloads`."""
    if re.match(r"https?://", source, re.IGNORECASE):
        yield _from_url(source, downloads, max_file_mb)
        return
    path = Path(source).expanduser()
    try:
        with local_files.explained(path):
            is_file, is_folder = path.is_file(), path.is_dir()
            if is_folder:
                yield from _from_folder(path, max_file_mb)
    except StorageError as error:
        yield Refused(source, str(error))
        return
    if is_file:
        yield _from_disk(path, path.name, max_file_mb)
    elif not is_folder:
        yield Refused(source, "no such file or folder; give one, or an http(s) URL")


def is_hidden(key: str) -> bool:
    """True for hidden files and files of operating systems, such as .DS_Store, .gitkeep and Thumbs.db."""
    return any(part.startswith(".") or part in _NOT_DOCUMENTS for part in key.split("/"))


def refusal(name: str, size: int, max_file_mb: float) -> Reading | None:
    """The reason to refuse a file by its name or size, None if there is none.

    `size` is in bytes, 0 if unknown; `max_file_mb` in millions of bytes.
    """
    if extension(name) not in EXTENSIONS:
        problem = f"{extension(name) or 'a file without extension'} is not supported"
        return Reading(problem=problem, remedy=f"save it as one of: {', '.join(EXTENSIONS)}")
    if size > max_file_mb * 1e6:
        problem = f"{size / 1e6:.1f} MB is over the limit of {max_file_mb:g} MB"
        return Reading(problem=problem, remedy="split it, or raise max_file_mb")
    return None


def printable(name: str) -> str:
    """A file name with unprintable characters escaped."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in name)


def report_line(status: str, file: str, problem: str, remedy: str = "") -> str:
    """The line for a file in a report.

    Example:
        >>> report_line("skipped", "a.pdf", "it is empty (0 bytes)", "upload the whole file again")
        'skipped  a.pdf: it is empty (0 bytes); upload the whole file again'
    """
    line = f"{status:<8} {file}" + (f": {problem}" if problem else "")
    return f"{line}; {remedy}" if remedy else line


def _from_folder(folder: Path, max_file_mb: float) -> Iterator[File | Refused]:
    names = sorted(name for name, *_ in local_files.walk(folder) if not is_hidden(name))
    if not names:
        yield Refused(str(folder), "the folder contains no files")
    for name in names:
        yield _from_disk(folder / name, name, max_file_mb, in_folder=True)


def _from_disk(path: Path, name: str, max_file_mb: float, in_folder: bool = False) -> File | Refused:
    try:
        check_key(name)
        with local_files.explained(path), open(path, "rb") as file:
            refused = refusal(name, local_files.size(file), max_file_mb)
    except StorageError as error:
        return Refused(str(path), str(error), in_folder)
    if refused:
        return Refused(str(path), f"{refused.problem}; {refused.remedy}", in_folder)
    return File(str(path), path, name)


def _from_url(url: str, downloads: Path, max_file_mb: float) -> File | Refused:
    import httpx

    path = downloads / uuid.uuid4().hex
    source = url.partition("?")[0]
    try:
        source = _without_secrets(url)
        name = _download(url, path, max_file_mb)
    except DataError as error:
        return Refused(source, str(error))
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        return Refused(source, f"{type(error).__name__}: {error or 'no response'}; check the URL and the network")
    refused = refusal(name, 0, max_file_mb) or wrong_content(name, path.read_bytes())
    if refused:
        return Refused(source, f"{name}: {refused.problem}; {refused.remedy}")
    return File(source, path, name)


def _without_secrets(url: str) -> str:
    """A URL without user, password, query and fragment, which may contain keys.

    Example:
        >>> _without_secrets("https://me:secret@host/a.pdf?token=secret")
        'https://host/a.pdf'
    """
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


def _download(url: str, path: Path, max_file_mb: float) -> str:
    """Download a URL to a file; returns the document's name."""
    import httpx

    client = httpx.Client(follow_redirects=True, timeout=DOWNLOAD_SECONDS, headers={"User-Agent": "dream-rag"})
    with client, client.stream("GET", url) as response, local_files.explained(path), open(path, "wb") as file:
        if response.is_error:
            raise DataError(
                f"HTTP {response.status_code} {response.reason_phrase}; check that the URL opens in a browser"
            )
        declared = response.headers.get("content-length", "")
        size = int(declared) if declared.isdigit() else 0
        for chunk in response.iter_bytes():
            size = max(size, file.tell() + len(chunk))
            if size > max_file_mb * 1e6:
                raise DataError(f"over the limit of {max_file_mb:g} MB; raise max_file_mb")
            file.write(chunk)
        return _file_name(url, response)


def _file_name(url: str, response: Any) -> str:
    """The document's name: from the Content-Disposition header, else from the path of the URL.

    If neither has a supported extension, that of the content type is appended.
    """
    header = Message()
    header["Content-Disposition"] = response.headers.get("content-disposition", "")
    parts = [header.get_filename() or "", *(unquote(urlsplit(str(address)).path) for address in (url, response.url))]
    names = [re.sub(r"[\\/\x00-\x1f\x7f]+", "/", part).rstrip("/").rpartition("/")[2].lstrip(".") for part in parts]
    name = next((name for name in names if extension(name) in EXTENSIONS), None)
    if name is None:
        content_type = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        name = next(filter(None, names), response.url.host)
        name += _EXTENSION_OF_TYPE.get(content_type, "")
    suffix = PurePosixPath(name).suffix
    return name.removesuffix(suffix).encode()[:200].decode(errors="ignore") + suffix
