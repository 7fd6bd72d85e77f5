"""Contexts of chunks: descriptions of a chunk's place in its document, which are embedded and searched with the chunk,
but not read by the LLM that answers (Anthropic, "Introducing Contextual Retrieval", 2024).

Contexts here consist of file name and headings; those of `dream.indexes.written_contexts` are written by an LLM.
"""

import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import pyarrow

from dream.indexes.headings import FOLLOW_HEADINGS, Heading
from dream.tokens import count_tokens

if TYPE_CHECKING:
    from llama_index.core.schema import TextNode

# The parameter of an index, its values, the LLM that writes contexts, and the column of the nodes.
CHUNK_CONTEXT, NONE, HEADINGS, LLM = "chunk_context", "none", "headings", "llm"
CONTEXT_LLM = "context_llm"
COLUMN = pyarrow.field("context", pyarrow.dictionary(pyarrow.int32(), pyarrow.string()))
# the reason why an LLM's context is missing; empty if it is there
FAILURE = pyarrow.field("context_failure", pyarrow.dictionary(pyarrow.int32(), pyarrow.string()))
# Increment this when the prompt for contexts or its part of the document changes.
WRITING_VERSION = 1
MOST_TOKENS = 64
SEPARATOR = " > "
_NO_WORDS = re.compile(r"_+|(?<=[^\W\d_])-+(?=[^\W\d_])")


def with_context(text: str, context: str) -> str:
    """The text to embed and search: context and text, joined as LlamaIndex joins metadata and text.

    Example:
        >>> with_context("It is oiled in May.", "handbook > Pumps")
        'handbook > Pumps\\n\\nIt is oiled in May.'
    """
    return f"{context}\n\n{text}" if context else text


def add_contexts(
    table: pyarrow.Table, nodes: Sequence["TextNode"], headings: Mapping[str, Sequence[Heading]]
) -> pyarrow.Table:
    """The nodes, with a context for each embedded one.

    Args:
        headings: the headings of each file, by its SHA-256.
    """
    paths = {file: list(_paths(of_file)) for file, of_file in headings.items()}
    starts = {file: [heading.start for heading in of_file] for file, of_file in headings.items()}
    contexts = []
    for node, is_embedded in zip(nodes, table["embedded"].to_pylist(), strict=True):
        file, start = node.metadata["file_digest"], node.start_char_idx
        position = -1 if start is None else start + len(node.text) - len(node.text.lstrip())
        path = (
            paths[file][bisect_right(starts[file], position) - 1]
            if starts[file] and position >= starts[file][0]
            else ()
        )
        contexts.append(_joined(title_of(node.metadata["file_name"]), path) if is_embedded else "")
    return table.append_column(COLUMN, pyarrow.array(contexts, pyarrow.string()).dictionary_encode())


def title_of(file_name: str) -> str:
    """The path of a file as words.

    Example:
        >>> title_of("reports/annual_report-2023.pdf"), title_of("pump-house handbook.md")
        ('reports > annual report-2023', 'pump house handbook')
    """
    return SEPARATOR.join(_NO_WORDS.sub(" ", part) for part in PurePosixPath(file_name).with_suffix("").parts)


def _paths(headings: Sequence[Heading]) -> Iterator[tuple[str, ...]]:
    """The path of each heading: the headings above it, and its own words."""
    open_headings: list[Heading] = []
    for heading in headings:
        while open_headings and open_headings[-1].level >= heading.level:
            open_headings.pop()
        open_headings.append(heading)
        yield tuple(each.words for each in open_headings)


def _joined(title: str, path: Sequence[str]) -> str:
    """Title and headings, without the outermost headings if all have more than `MOST_TOKENS` tokens; at least the
    title."""
    for first in range(len(path) + 1):
        joined = SEPARATOR.join([title, *path[first:]])
        if count_tokens(joined) <= MOST_TOKENS:
            break
    return joined


def writer_of(parameters: Mapping[str, Any]) -> str:
    """The identifier of the LLM that writes the contexts of an index; empty if none does.

    Example:
        >>> writer_of({"chunk_context": "llm", "context_llm": "gpt-4o-mini"}), writer_of({"chunk_context": "headings"})
        ('gpt-4o-mini', '')
    """
    return parameters.get(CONTEXT_LLM, "") if parameters.get(CHUNK_CONTEXT, NONE) == LLM else ""


def without_writer(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters with contexts of headings instead of contexts by an LLM."""
    if parameters.get(CHUNK_CONTEXT, NONE) != LLM:
        return dict(parameters)
    return {**{name: value for name, value in parameters.items() if name != CONTEXT_LLM}, CHUNK_CONTEXT: HEADINGS}


def is_contextual(parameters: Mapping[str, Any]) -> bool:
    """True for an index whose chunks are embedded with a context."""
    return parameters.get(CHUNK_CONTEXT, NONE) != NONE


def follows_headings(chunker: str, parameters: Mapping[str, Any]) -> bool:
    """True if an index depends on the headings of its documents, which are not part of the documents' digest."""
    return chunker in FOLLOW_HEADINGS or is_contextual(parameters)
