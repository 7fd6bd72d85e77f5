"""The format of the cache of model answers in storage.

<cache>/answers/<endpoint and model>/<id>.jsonl               answers, or vectors of single texts, one per line
<cache>/answers/<endpoint and model>/<id>.keys                the keys of their requests, written last
<cache>/vectors/<endpoint and model>/<id>.npz, <id>.keys      the vectors of one batch of texts, with their keys
<cache>/answers/<endpoint and model>/<2 digits>/<key>.json    one answer, as version 0.1 wrote it

Each entry has a checksum: a truncated or modified entry is ignored.
"""

import base64
import hashlib
import io
import json
import logging
import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from dream.errors import StorageError
from dream.storage import Storage

ANSWERS, VECTORS = "answers", "vectors"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Entry:
    """A usable answer: its body (for a text to embed, its float32 vector), response time and tokens.

    `estimated` of the tokens are DREAM's estimates. `is_read` is true once this process has validated the content;
    entries of earlier runs may be invalid.
    """

    content: bytes
    seconds: float = 0.0
    prompt_tokens: float = 0
    completion_tokens: float = 0
    estimated: float = 0
    is_read: bool = field(default=False, compare=False)


def slug(model: str) -> str:
    """A folder name for an endpoint's address and a model.

    Example:
        >>> slug("https://api.openai.com/v1 gpt-4o-mini")
        'api.openai.com_v1_gpt-4o-mini-b45324'
    """
    readable = re.sub(r"[^A-Za-z0-9.@-]+", "_", model.split("://")[-1]).strip("_.")[:80]
    return f"{readable}-{hashlib.sha256(model.encode()).hexdigest()[:6]}"


def read_answers(storage: Storage, name: str) -> dict[str, Entry]:
    """The undamaged entries of an object of answers; empty if the object is gone.

    Args:
        name: without extension; for a file of version 0.1 with it.
    """
    if name.endswith(".json"):
        key = name.rpartition("/")[2].removesuffix(".json")
        entry = _entry(storage.read_if_there(name) or b"", key)
        return {} if entry is None else {key: entry}
    return dict(_entries(storage.read_if_there(f"{name}.jsonl") or b""))


def write_entries(storage: Storage, name: str, entries: Mapping[str, Entry]) -> dict[str, bytes]:
    """Write answers as one object; returns its lines by key."""
    lines = {key: _entry_line(key, entry) for key, entry in entries.items()}
    write_lines(storage, name, lines)
    return lines


def write_lines(storage: Storage, name: str, lines: Mapping[str, bytes]) -> None:
    """Write the lines of entries as one object, and then their keys."""
    storage.write_bytes(f"{name}.jsonl", b"".join(lines.values()), durable=False)
    storage.write_bytes(f"{name}.keys", "\n".join(lines).encode(), durable=False)


def read_pack(storage: Storage, pack: str) -> dict[str, Entry]:
    """The vectors of a batch. A damaged batch is deleted, so that its texts are embedded again."""
    import numpy

    try:
        content = storage.read_if_there(f"{pack}.npz") or b""
        with numpy.load(io.BytesIO(content)) as arrays:
            parts = (arrays["keys"].tolist(), arrays["vectors"], arrays["tokens"].tolist())
            estimated = arrays["estimated"].tolist() if "estimated" in arrays else [0.0] * len(parts[2])
        return {
            key: Entry(vector.tobytes(), prompt_tokens=n, estimated=m)
            for key, vector, n, m in zip(*parts, estimated, strict=True)
        }
    except StorageError as error:
        logger.warning("the cache cannot be read, so vectors may be billed again: %s", error)
    except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        logger.warning("a batch of vectors is damaged, so they are billed again: %s", error)
        for ending in ("keys", "npz"):
            storage.delete(f"{pack}.{ending}")
    return {}


def write_pack(storage: Storage, pack: str, entries: Mapping[str, Entry]) -> None:
    """Write the vectors of a batch, and then their keys."""
    import numpy

    content = io.BytesIO()
    vectors = [numpy.frombuffer(entry.content, numpy.float32) for entry in entries.values()]
    tokens = [float(entry.prompt_tokens) for entry in entries.values()]
    estimated = [float(entry.estimated) for entry in entries.values()]
    numpy.savez(
        content,
        keys=numpy.array(list(entries)),
        vectors=numpy.stack(vectors),
        tokens=numpy.array(tokens),
        estimated=numpy.array(estimated),
    )
    storage.write_bytes(f"{pack}.npz", content.getvalue(), durable=False)
    storage.write_bytes(f"{pack}.keys", "\n".join(entries).encode(), durable=False)


def _entry_line(key: str, entry: Entry) -> bytes:
    fields = {
        "content": base64.b64encode(entry.content).decode(),
        "seconds": entry.seconds,
        "prompt_tokens": entry.prompt_tokens,
        "completion_tokens": entry.completion_tokens,
        **({"estimated": entry.estimated} if entry.estimated else {}),
    }
    return json.dumps({"key": key, "check": _check(key, fields), **fields}).encode() + b"\n"


def _entries(content: bytes) -> Iterator[tuple[str, Entry]]:
    """The valid entries of an object of answers, with their keys."""
    for line in content.splitlines():
        try:
            key = json.loads(line)["key"]
        except (ValueError, KeyError, TypeError):
            continue
        if (entry := _entry(line, key)) is not None:
            yield key, entry


def _entry(content: bytes, key: str) -> Entry | None:
    """The entry, None if it is truncated, modified, or belongs to another key."""
    try:
        fields = json.loads(content)
        fields.pop("key", None)
        if fields.pop("check") != _check(key, fields):
            return None
        return Entry(**{**fields, "content": base64.b64decode(fields["content"])})
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _check(key: str, fields: Mapping[str, Any]) -> str:
    return hashlib.sha256(f"{key} {json.dumps(fields, sort_keys=True)}".encode()).hexdigest()[:16]
