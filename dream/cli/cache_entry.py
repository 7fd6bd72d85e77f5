"""`dream cache show KEY`: one entry of the cache of model answers."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dream.errors import ConfigurationError, DataError, bullets

if TYPE_CHECKING:
    from dream.models.cache_contents import CachedEntry
    from dream.models.cache_format import Entry
    from dream.storage import Storage

MOST_CHARACTERS = 2000
MOST_ENTRIES = 10


def key_to_show(arguments: Sequence[str]) -> str:
    """The key in the arguments `show KEY`.

    Raises:
        ConfigurationError: for other arguments.
    """
    if len(arguments) != 2 or arguments[0] != "show":
        raise ConfigurationError(f"{' '.join(arguments)!r}: write dream cache show KEY, or dream cache alone")
    return arguments[1]


def print_entry(storage: "Storage", prefix: str) -> None:
    """Print the entry whose key begins with `prefix`.

    Raises:
        DataError: if there is none, or more than one.
    """
    from dream.models.cache_contents import find

    entries = find(storage, prefix)
    if not entries:
        raise DataError(
            f"no entry in {storage.uri()} has a key that begins with {prefix!r}: the call log (DREAM_CALL_LOG) has the "
            "keys of all requests; failed answers and those of checks are not cached"
        )
    if len(entries) > 1:
        keys = [f"{each.key} ({each.model})" for each in entries[:MOST_ENTRIES]]
        raise DataError(bullets(f"{len(entries)} keys begin with {prefix!r}; give more of one of them:", keys))
    print(entry_text(entries[0]))


def entry_text(found: "CachedEntry") -> str:
    """An entry as text: its model, its tokens and time, and its answer."""
    entry = found.entry
    tokens = f"{entry.prompt_tokens:g} of the prompt, {entry.completion_tokens:g} of the answer"
    rows = {"key": found.key, "model": found.model, "seconds": f"{entry.seconds:.3f}", "tokens": tokens}
    rows |= _content(entry)
    return "\n".join(f"{name:<8} {value}" for name, value in rows.items())


def _content(entry: "Entry") -> dict[str, str]:
    """The text of an answer, or the length of a vector, which is kept as float32."""
    try:
        answer = json.loads(entry.content)
    except ValueError:
        return {"vector": f"{len(entry.content) // 4:,} numbers"}
    text = _text(answer)
    cut = f"... ({len(text):,} characters)" if len(text) > MOST_CHARACTERS else ""
    return {"answer": text[:MOST_CHARACTERS] + cut}


def _text(answer: Any) -> str:
    try:
        message = answer["choices"][0]["message"]
        return str(message.get("content") or message)
    except (KeyError, IndexError, TypeError, AttributeError):
        return json.dumps(answer, ensure_ascii=False)
