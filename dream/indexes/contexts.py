"""Contexts of chunks: where in its document a chunk stands. It is embedded and searched with the chunk, and not read by
the LLM that answers (Anthropic, "Introducing Contextual Retrieval", 2024).

A context is made of file and headings here, and written by an LLM in `dream.indexes.written_contexts`.
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
# of a context that an LLM was to write: why there is none, empty where there is one
FAILURE = pyarrow.field("context_failure", pyarrow.dictionary(pyarrow.int32(), pyarrow.string()))
# Raise it when an LLM is asked for contexts in other words, or about another part of the document.
WRITING_VERSION = 1
MOST_TOKENS = 64
SEPARATOR = " > "
_NO_WORDS = re.compile(r"_+|(?<=[^\W\d_])-+(?=[^\W\d_])")


def with_context(text: str, context: str) -> str:
    """The text that is embedded and searched: context and text, joined as LlamaIndex joins metadata and text.

    Example:
        >>> with_context("It is oiled in May.", "handbook > Pumps")
        'handbook > Pumps\\n\\nIt is oiled in May.'
    """
    return f"{context}\n\n{text}" if context else text


def add_contexts(
    table: pyarrow.Table, nodes: Sequence["TextNode"], headings: Mapping[str, Sequence[Heading]]
) -> pyarrow.Table:
    """The nodes with a context for each that is embedded.

    Args:
        headings: of each file, by its SHA-256.
    """
    paths = {file: list(_paths(of_file)) for file, of_file in headings.items()}
    starts = {file: [heading.start for heading in of_file] for file, of_file in headings.items()}
    contexts = []
    for node, is_embedded in zip(nodes, table["embedded"].to_pylist(), strict=True):
        file, start = node.metadata["file_digest"], node.start_char_idx
        place = -1 if start is None else start + len(node.text) - len(node.text.lstrip())
        path = paths[file][bisect_right(starts[file], place) - 1] if starts[file] and place >= starts[file][0] else ()
        contexts.append(_joined(title_of(node.metadata["file_name"]), path) if is_embedded else "")
    return table.append_column(COLUMN, pyarrow.array(contexts, pyarrow.string()).dictionary_encode())


def title_of(file_name: str) -> str:
    """The name of a file as words, with those of its folders.

    Example:
        >>> title_of("reports/annual_report-2023.pdf"), title_of("pump-house handbook.md")
        ('reports > annual report-2023', 'pump house handbook')
    """
    return SEPARATOR.join(_NO_WORDS.sub(" ", part) for part in PurePosixPath(file_name).with_suffix("").parts)


def _paths(headings: Sequence[Heading]) -> Iterator[tuple[str, ...]]:
    """For each heading its words after those of the headings above it."""
    open_headings: list[Heading] = []
    for heading in headings:
        while open_headings and open_headings[-1].level >= heading.level:
            open_headings.pop()
        open_headings.append(heading)
        yield tuple(each.words for each in open_headings)


def _joined(title: str, path: Sequence[str]) -> str:
    """Title and headings, without the outermost headings where all have more than `MOST_TOKENS`; at least the title."""
    for first in range(len(path) + 1):
        joined = SEPARATOR.join([title, *path[first:]])
        if count_tokens(joined) <= MOST_TOKENS:
            break
    return joined


def writer_of(parameters: Mapping[str, Any]) -> str:
    """The identifier of the LLM that writes the contexts of an index; empty where none does.

    Example:
        >>> writer_of({"chunk_context": "llm", "context_llm": "gpt-4o-mini"}), writer_of({"chunk_context": "headings"})
        ('gpt-4o-mini', '')
    """
    return parameters.get(CONTEXT_LLM, "") if parameters.get(CHUNK_CONTEXT, NONE) == LLM else ""


def without_writer(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of the same chunks with the contexts that need no LLM: those of headings."""
    if parameters.get(CHUNK_CONTEXT, NONE) != LLM:
        return dict(parameters)
    return {**{name: value for name, value in parameters.items() if name != CONTEXT_LLM}, CHUNK_CONTEXT: HEADINGS}


def is_contextual(parameters: Mapping[str, Any]) -> bool:
    """True for an index whose chunks are embedded with a context."""
    return parameters.get(CHUNK_CONTEXT, NONE) != NONE


def follows_headings(chunker: str, parameters: Mapping[str, Any]) -> bool:
    """True for an index that changes with the headings of its documents, which are not in the digest of their texts."""
    return chunker in FOLLOW_HEADINGS or is_contextual(parameters)
