"""Readers of single values. Each is given a variable's name and its text, and returns the value.

Raises ConfigurationError with the variable, its text and the valid values, but without a text that may be secret.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from dream.errors import ConfigurationError

Reader = Callable[[str, str], Any]


def any_text(name: str, text: str) -> str:
    return text


def items(name: str, text: str) -> tuple[str, ...]:
    return tuple(item.strip() for item in text.split(",") if item.strip())


def folder(name: str, text: str) -> str:
    return str(Path(text).expanduser().resolve())


def flag(name: str, text: str) -> bool:
    if text not in ("0", "1"):
        raise ConfigurationError(f"{name}={text!r}: give 1 or 0")
    return text == "1"


def count(name: str, text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise ConfigurationError(f"{name}={text!r}: give a whole number of at least 1")
    return int(text)


def amount(name: str, text: str) -> float:
    if not re.fullmatch(r"\d+(\.\d+)?", text) or float(text) <= 0:
        raise ConfigurationError(f"{name}={text!r}: give a number above 0")
    return float(text)


def url(name: str, text: str) -> str:
    parts = urlsplit(text)
    if "@" in parts.netloc:  # the value is not shown: it would end up in error texts and manifests too
        raise ConfigurationError(f"{name} contains a user or a password: give keys in their own variables")
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise ConfigurationError(f"{name}={text!r} is not a URL: write http://host:port or https://host")
    return text


def base_url(name: str, text: str) -> str:
    """A base URL without the slash or the path of a request at its end; a query such as Azure's stays."""
    parts = urlsplit(url(name, text).rstrip("/"))
    path = re.sub(r"/(chat/completions|completions|embeddings|models|responses)$", "", parts.path.rstrip("/"))
    return parts._replace(path=path, fragment="").geturl()


def one_of(*values: str) -> Reader:
    """A reader that accepts only these values."""
    *first, last = values

    def read(name: str, text: str) -> str:
        if text not in values:
            raise ConfigurationError(f"{name}={text!r}: give {', '.join(first)} or {last}")
        return text

    return read


def header(name: str, text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9-]+", text):
        raise ConfigurationError(f"{name}={text!r} is not the name of a header: give api-key or authorization")
    return text.lower()


def storage_uri(name: str, text: str) -> str:
    scheme = urlsplit(text).scheme
    if scheme not in ("", "s3", "file"):
        raise ConfigurationError(f"{name}={text!r}: write s3://bucket/prefix or a folder, not {scheme}://")
    return text


def bucket_prefix(name: str, text: str) -> str:
    if text and not re.fullmatch(r"[a-z0-9][a-z0-9.-]{0,40}", text):
        raise ConfigurationError(
            f"{name}={text!r}: it is the prefix of the buckets' names (documents, golden-datasets, ...); give "
            f"lower-case letters, digits and hyphens, such as acme-"
        )
    return text


def log_place(name: str, text: str) -> str:
    """The place of the call log; a local path is made absolute, as the gateway may have another working folder."""
    uri = storage_uri(name, text)
    is_folder = text.endswith("/")
    return uri if "://" in uri else folder(name, uri) + "/" * is_folder


def token(name: str, text: str) -> str:
    if len(text) < 16:
        raise ConfigurationError(f"{name} has {len(text)} characters: give at least 16 that nobody can guess")
    return text


def ocr_command(name: str, text: str) -> str:
    if "{input}" not in text or "{output}" not in text:
        example = "ocrmypdf --skip-text {input} {output}"
        raise ConfigurationError(f"{name}={text!r}: name the files in it as {{input}} and {{output}}: {example}")
    return text


def traces(name: str, text: str) -> str:
    if text not in ("auto", "all") and not text.isdecimal():
        raise ConfigurationError(
            f"{name}={text!r}: give auto, all, or the number of questions per trial with a trace in MLflow (0 for none)"
        )
    return text
