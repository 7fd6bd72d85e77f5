"""Chunkers that follow the structure of texts: fixed numbers of tokens, headings, tables, whole documents.

Headings and tables are recognised in Markdown, to which HTML, Word, Excel and PowerPoint files are converted. In PDF
files, tables are Markdown too, and headings are listed separately.
"""

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from dream.documents.stored_documents import HEADINGS
from dream.indexes.headings import headings_of
from dream.tokens import count_tokens, tokenize

if TYPE_CHECKING:
    from llama_index.core import Document
    from llama_index.core.schema import BaseNode

    Nodes = tuple[list[BaseNode], list[BaseNode]]

_RULE = re.compile(r"^\|?[\s:|-]+\|?\s*$")


def tokens(documents: Sequence["Document"], *, chunk_size: int, chunk_overlap: int) -> "Nodes":
    """Chunks of `chunk_size` tokens, regardless of sentence ends, each repeating `chunk_overlap` tokens."""
    from llama_index.core.node_parser import TokenTextSplitter

    splitter = TokenTextSplitter(chunk_size=chunk_size, chunk_overlap=chunk_overlap, tokenizer=tokenize)
    nodes = splitter.get_nodes_from_documents(documents)
    return nodes, nodes


def headings(documents: Sequence["Document"], *, chunk_size: int, chunk_overlap: int) -> "Nodes":
    """Sections with their headings: small ones are joined while they fit `chunk_size`, large ones are cut at
    sentences."""
    sections = [(document, _sections(document, chunk_size)) for document in documents]
    return of_pieces(sections, chunk_size, chunk_overlap)


def tables(documents: Sequence["Document"], *, chunk_size: int, chunk_overlap: int) -> "Nodes":
    """Tables as whole chunks, or cut between rows, each piece with the header row; the text around them in overlapping
    chunks."""
    from llama_index.core.schema import TextNode

    nodes: list[BaseNode] = []
    for document in documents:
        for start, piece in _table_and_text_blocks(document.text):
            if not _is_row(piece):
                nodes += of_pieces([(document, [piece])], chunk_size, chunk_overlap)[0]
                continue
            for offset, length, text in _table_pieces(piece, chunk_size):
                begin = start + offset
                nodes.append(
                    TextNode(
                        text=text,
                        metadata=dict(document.metadata),
                        excluded_embed_metadata_keys=document.excluded_embed_metadata_keys,
                        excluded_llm_metadata_keys=document.excluded_llm_metadata_keys,
                        start_char_idx=begin,
                        end_char_idx=begin + length,
                    )
                )
    return nodes, nodes


def whole_documents(documents: Sequence["Document"]) -> "Nodes":
    """Each document as one chunk, for methods that do not search."""
    from llama_index.core.schema import TextNode

    nodes: list[BaseNode] = [
        TextNode(text=document.text, metadata=dict(document.metadata))
        for document in documents
        if document.text.strip()
    ]
    return nodes, nodes


def of_pieces(documents: Sequence[tuple["Document", Sequence[str]]], chunk_size: int, chunk_overlap: int) -> "Nodes":
    """Overlapping chunks that never cross the boundaries of a document's pieces."""
    from dream.indexes.chunkers import overlapping_chunks

    pieces = [
        document.model_copy(update={"text_resource": _resource(piece)})
        for document, pieces in documents
        for piece in pieces
        if piece.strip()
    ]
    return overlapping_chunks(pieces, chunk_size=chunk_size, chunk_overlap=chunk_overlap)


def _resource(text: str) -> object:
    from llama_index.core.schema import MediaResource

    return MediaResource(text=text)


def _sections(document: "Document", chunk_size: int) -> list[str]:
    """The text cut before headings, with small sections joined. The list of headings is removed from the document,
    because every node would copy it."""
    text = document.text
    starts = sorted({0, *(heading.start for heading in headings_of(document)), len(text)})
    document.metadata.pop(HEADINGS, None)
    pieces: list[str] = []
    room = 0
    for start, end in pairwise(starts):
        section = text[start:end]
        size = count_tokens(section)
        if pieces and size <= room:
            pieces[-1] += section
        else:
            pieces.append(section)
            room = chunk_size
        room -= size
    return pieces


def _is_row(line: str) -> bool:
    """True for a table row, or a text that begins with one."""
    first = line.partition("\n")[0].strip()
    return first.startswith("|") or first.count(" | ") >= 1


def _table_and_text_blocks(text: str) -> Iterator[tuple[int, str]]:
    """Alternating blocks of table rows and of other lines, each with its position. A single row counts as text."""
    lines = text.splitlines(keepends=True)
    kinds = [_is_row(line) for line in lines]
    alone = [
        kind and not (kinds[i - 1] if i else False) and not (kinds[i + 1] if i + 1 < len(kinds) else False)
        for i, kind in enumerate(kinds)
    ]
    start = position = 0
    block, of_rows = "", False
    for line, kind, single in zip(lines, kinds, alone, strict=True):
        is_row = kind and not single
        if block and is_row != of_rows:
            yield start, block
            block = ""
        if not block:
            start, of_rows = position, is_row
        block += line
        position += len(line)
    if block:
        yield start, block


def _table_pieces(table: str, chunk_size: int) -> Iterator[tuple[int, int, str]]:
    """Pieces of whole rows, with position, length and text. All except the first begin with a copy of the header."""
    rows = table.splitlines(keepends=True)
    n_header = 2 if len(rows) > 2 and _RULE.match(rows[1]) else 1
    header = "".join(rows[:n_header])
    header_size = count_tokens(header)
    piece, begin, position, size = "", 0, 0, 0
    for i, row in enumerate(rows):
        row_size = count_tokens(row)
        if piece and i > n_header and size + row_size > chunk_size:
            yield begin, position - begin, piece
            piece, begin, size = header, position, header_size
        piece += row
        size += row_size
        position += len(row)
    if piece.strip():
        yield begin, position - begin, piece
