"""Contexts that an LLM writes for chunks (`chunk_context=llm`), as in Anthropic's contextual retrieval.

For each searched chunk, the LLM reads the chunk and a window of its document, and describes in a sentence or two where
the chunk belongs. The description is embedded and searched with the chunk, for vectors and words; it is neither shown
to the LLM that answers questions nor compared with evidence. A context is one call through the gateway, whose cache key
contains everything the LLM reads, so that it is billed once for all indexes of the same chunks.

If a context fails, e.g. because of a content filter, the chunk is searched without it, and the index stores the reason.
If more than the share `MOST_FAILURES` of the contexts fail, building the index fails.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow

from dream.documents.loading import merge_pages
from dream.documents.stored_documents import StoredDocuments
from dream.errors import ServiceError, end_of_all
from dream.indexes.chunkers import together
from dream.indexes.contexts import COLUMN, FAILURE, writer_of
from dream.indexes.sentence_splitting import beginning
from dream.models.pickers import llm_picker
from dream.models.thinking import separated
from dream.records import Failure, FailureKind
from dream.runtime.event_loop import run_async
from dream.tokens import count_tokens, first_tokens

if TYPE_CHECKING:
    from llama_index.core import Document
    from llama_index.core.llms import LLM

STAGE = "context"
# Maximum tokens: of the window of the document, of the chunk, and of the context. Together with an answer they fit into
# a context window of 8,192.
WINDOW_TOKENS, CHUNK_TOKENS, MOST_TOKENS = 3072, 1536, 128
# The share of failed contexts above which the index fails; one may always fail.
MOST_FAILURES = 0.1
CALLS_IN_FLIGHT = 64
# The maximum number of progress reports per batch of documents.
MOST_REPORTS = 100
# The tokens of the prompt without its texts, of a typical answer, and of file name and headings as its replacement.
FRAME_TOKENS, USUAL_TOKENS, HEADINGS_TOKENS = 90, 50, 19
# Characters by which the tokens of a document are estimated, and the share of a window that they may fill: no part of
# most documents has so many more tokens that the end of the window is cut.
_SAMPLE, _FULLNESS = 20_000, 0.85
# The document comes first: it is equal for neighbouring chunks, so a provider's prompt cache can reuse it.
PROMPT = (
    "<document>\n{window}\n</document>\nThe following part of this document stands under: {place}\n<chunk>\n{chunk}\n"
    "</chunk>\nWrite one or two sentences, in the language of the document, for somebody who sees this part alone: "
    "what document it is from, and whom or what, and which time, it speaks of. A search will look for them together "
    "with the part. Write nothing else."
)


def with_written_contexts(
    nodes: pyarrow.Table,
    documents: Sequence["Document"],
    parameters: Mapping[str, Any],
    on_written: Callable[[int, int], None] | None = None,
) -> pyarrow.Table:
    """The nodes with the contexts that an LLM writes, and its failures; the unchanged nodes if no LLM writes contexts.

    Args:
        nodes: the nodes of these documents, with the contexts of headings.
        on_written: called repeatedly with the number of written or failed contexts, and the number of chunks.

    Raises:
        ServiceError: if too many contexts fail, or if all further calls would fail.
        BudgetError: if the budget is spent; paid contexts stay in the cache.
    """
    if not (writer := writer_of(parameters)):
        return nodes
    columns = ("embedded", "text", COLUMN.name, "file_digest", "start", "end")
    rows = list(zip(*(nodes[name].to_pylist() for name in columns), strict=True))
    windows = {document.metadata["file_digest"]: Windows(document.text) for document in merge_pages(documents)}
    chunks = [_Chunk(text, place, windows[file], start, end) for is_embedded, text, place, file, start, end in rows
              if is_embedded]  # fmt: skip
    written = iter(_written(chunks, writer, on_written or (lambda written, chunks: None)))
    contexts, failures = zip(*(next(written) if row[0] else ("", "") for row in rows), strict=True)
    column = nodes.schema.get_field_index(COLUMN.name)
    return nodes.set_column(column, COLUMN, _column(contexts)).append_column(FAILURE, _column(failures))


def failures_told(nodes: pyarrow.Table) -> str:
    """A note for the user about failed contexts; empty if none failed."""
    failures = _failures(nodes)
    if not failures:
        return ""
    kept = "; the index is not stored, so they are requested again" if is_incomplete(nodes) else ""
    return f"; {len(failures):,} chunk(s) have no context ({failures[0]}){kept}"


def is_incomplete(nodes: pyarrow.Table) -> bool:
    """True if contexts are missing that another request might give, because the model was unreachable rather than
    refusing a chunk."""
    return any(not FailureKind(failure.partition(":")[0]).by_system for failure in _failures(nodes))


def prompt_tokens(documents: Sequence["Document"], n_chunks: int, chunk_tokens: int) -> int:
    """An estimate of the tokens that an LLM reads to write the contexts of all chunks.

    Args:
        chunk_tokens: the tokens of all chunks together.
    """
    sizes = _characters(documents)
    if not (whole := sum(sizes)):
        return 0
    tokens = [size / whole * chunk_tokens for size in sizes]  # for each file, in proportion to its share of the chunks
    most = _FULLNESS * WINDOW_TOKENS
    window = sum(size / whole * min(of_file, most) for size, of_file in zip(sizes, tokens, strict=True))
    return round(n_chunks * (window + FRAME_TOKENS) + chunk_tokens)


class Windows:
    """A document, of which a window around each chunk is read; all of a short document.

    Neighbouring chunks mostly have the same window, as it moves by a quarter of its size.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        middle = len(text) // 2
        sample = text[max(0, middle - _SAMPLE // 2) : middle + _SAMPLE // 2]
        self._size = max(1, int(_FULLNESS * WINDOW_TOKENS * len(sample) / max(1, count_tokens(sample))))
        self._latest: tuple[int, str] | None = None

    def around(self, start: int, end: int) -> str:
        """The window around the characters from `start` to `end` (negative if unknown)."""
        step = max(1, self._size // 4)
        first = max(0, (start + end) // 2 - self._size // 2) // step * step
        first = max(0, min(first, len(self._text) - self._size))
        if self._latest is None or self._latest[0] != first:
            self._latest = first, first_tokens(self._text[first : first + self._size], WINDOW_TOKENS)
        return self._latest[1]


@dataclass(frozen=True)
class _Chunk:
    """A chunk with its headings and its position in the document."""

    text: str
    place: str
    windows: Windows
    start: int
    end: int

    def prompt(self) -> str:
        window = self.windows.around(self.start, self.end)
        return PROMPT.format(window=window, place=self.place, chunk=first_tokens(self.text, CHUNK_TOKENS))


@dataclass
class _Writing:
    """Writes the contexts of the chunks of some documents."""

    llm: "LLM"
    name: str
    n_chunks: int
    on_written: Callable[[int, int], None]
    permits: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(CALLS_IN_FLIGHT))
    n_done: int = 0
    n_failed: int = 0

    async def context(self, chunk: _Chunk) -> tuple[str, str]:
        """`_context`, counted."""
        context = await self._context(chunk)
        self.n_done += 1
        if self.n_done == self.n_chunks or self.n_done % -(-self.n_chunks // MOST_REPORTS) == 0:
            self.on_written(self.n_done, self.n_chunks)
        return context

    async def _context(self, chunk: _Chunk) -> tuple[str, str]:
        """A context and "", or "" and the kind and reason of the failure, without the server's message, which may quote
        a key."""
        async with self.permits:
            try:
                answer = await self.llm.acomplete(chunk.prompt())
            except Exception as error:  # noqa: BLE001 - a failed context is a value
                if (end := end_of_all(error)) is not None:
                    raise end from None
                status = getattr(error, "status_code", None)
                return self._failed(Failure.of(error), type(error).__name__ + (f", HTTP {status}" if status else ""))
        text = " ".join(separated(answer.text).answer.split())
        if not text:
            failure = Failure(FailureKind.EMPTY_ANSWER, "the LLM gave an empty answer")
            return self._failed(failure, failure.reason)
        return beginning(text, MOST_TOKENS).strip(), ""

    def _failed(self, failure: Failure, kept: str) -> tuple[str, str]:
        self.n_failed += 1
        if self.n_failed > max(1, MOST_FAILURES * self.n_chunks):
            raise ServiceError(
                f"{self.name} writes contexts of chunks, but failed on {self.n_failed} of {self.n_chunks}, more than "
                f"{MOST_FAILURES:.0%} (the latest: {failure.reason}): name another LLM (context_llm), or take "
                "chunk_context=headings"
            )
        return "", f"{failure.kind.value}: {kept}"


def _written(chunks: Sequence[_Chunk], writer: str, on_written: Callable[[int, int], None]) -> list[tuple[str, str]]:
    async def write() -> list[tuple[str, str]]:
        on_written(0, len(chunks))
        writing = _Writing(llm_picker(writer, stage=STAGE), writer, len(chunks), on_written)
        return await together(map(writing.context, chunks))

    return run_async(write())


def _column(texts: Sequence[str]) -> pyarrow.Array:
    return pyarrow.array(texts, pyarrow.string()).dictionary_encode()


def _failures(nodes: pyarrow.Table) -> list[str]:
    if FAILURE.name not in nodes.column_names:
        return []
    return [failure for failure in nodes[FAILURE.name].to_pylist() if failure]


def _characters(documents: Sequence["Document"]) -> list[int]:
    """The characters of each file."""
    if isinstance(documents, StoredDocuments):
        return [file.characters for file in documents.files]
    sizes: dict[str, int] = {}
    for document in documents:
        file = document.metadata["file_digest"]
        sizes[file] = sizes.get(file, 0) + len(document.text)
    return list(sizes.values())
