"""Postprocessing of retrieved nodes to the passages in the prompt: no duplicates, within a token budget."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

from llama_index.core import StorageContext
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.retrievers import AutoMergingRetriever, BaseRetriever, VectorIndexRetriever
from llama_index.core.schema import BaseNode, MetadataMode, NodeWithScore, QueryBundle, TextNode
from llama_index.core.storage.docstore.types import BaseDocumentStore

from dream.indexes.sentence_splitting import beginning, ends_sentence
from dream.records import Passage, page_label, pages_of
from dream.tokens import count_tokens

IS_CUT = "is_cut"


class ContextBudget(BaseNodePostprocessor):
    """Keeps passages, best first, up to a total of `context_tokens`; a passage that exceeds the remaining budget is
    skipped.

    Passages that are contained in another passage are dropped. If the best passage exceeds the budget by itself, it is
    cut where a sentence or clause ends (`Passage.is_cut`).
    """

    context_tokens: int

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        kept: list[NodeWithScore] = []
        left = self.context_tokens
        for hit in _outermost(nodes):
            fitting = hit if kept else _cut(hit, left)
            size = count_tokens(_content(fitting))
            if 0 < size <= left:
                kept.append(fitting)
                left -= size
        return kept


class SentenceWindows(BaseNodePostprocessor):
    """Replaces sentences by the windows around them; overlapping and adjacent windows are merged into one passage.

    Sentences are processed in order of score, each with `window_size` sentences on either side. A sentence whose window
    would exceed `context_tokens` in total is skipped. The first has a smaller window then; if it exceeds the budget by
    itself, it is cut (`Passage.is_cut`).
    """

    window_size: int
    context_tokens: int
    docstore: BaseDocumentStore

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        sentences: dict[str, BaseNode] = {}
        scores: dict[str, float] = {}
        for hit in nodes:
            wider = sentences | self._window(hit.node, self.window_size)
            for size in range(0 if sentences else self.window_size, 0, -1):
                if self._fits(wider):
                    break
                wider = self._window(hit.node, size - 1)
            if sentences and not self._fits(wider):
                continue
            sentences = wider
            scores[hit.node.node_id] = hit.score or 0.0
        joined = sorted(
            (_join(run, scores) for run in _runs(sentences)), key=lambda hit: hit.score or 0.0, reverse=True
        )
        passages = _outermost(joined)
        return [fit for hit in passages if _content(fit := _cut(hit, self.context_tokens))]

    def _fits(self, sentences: Mapping[str, BaseNode]) -> bool:
        return sum(count_tokens(_text(run)) for run in _runs(sentences)) <= self.context_tokens

    def _window(self, node: BaseNode, size: int) -> dict[str, BaseNode]:
        before = self._walk(node, "prev_node", size)
        return {node.node_id: node for node in [*reversed(before), node, *self._walk(node, "next_node", size)]}

    def _walk(self, node: BaseNode, direction: str, size: int) -> list[BaseNode]:
        neighbours: list[BaseNode] = []
        while len(neighbours) < size and (link := getattr(node, direction)) is not None:
            node = self.docstore.get_node(link.node_id)
            neighbours.append(node)
        return neighbours


class AutoMerging(BaseRetriever):
    """LlamaIndex's auto-merging retriever, with an asynchronous method that does not block the event loop.

    A parent replaces its children if more than the share `simple_ratio_thresh` (0 to 1) of them was retrieved.
    """

    def __init__(
        self, vector_retriever: BaseRetriever, storage_context: StorageContext, simple_ratio_thresh: float
    ) -> None:
        super().__init__()
        self._leaves, self._storage_context = vector_retriever, storage_context
        self._simple_ratio_thresh = simple_ratio_thresh

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return self._merge(query_bundle, self._leaves.retrieve(query_bundle))

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return self._merge(query_bundle, await self._leaves.aretrieve(query_bundle))

    def _merge(self, query_bundle: QueryBundle, hits: list[NodeWithScore]) -> list[NodeWithScore]:
        retrieved = cast(VectorIndexRetriever, _Retrieved(hits))
        merging = AutoMergingRetriever(retrieved, self._storage_context, self._simple_ratio_thresh)
        return merging.retrieve(query_bundle)


class _Retrieved(BaseRetriever):
    """A retriever that returns the given hits."""

    def __init__(self, hits: list[NodeWithScore]) -> None:
        super().__init__()
        self._hits = hits

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return self._hits


def passages(nodes: Iterable[NodeWithScore]) -> tuple[Passage, ...]:
    """The retrieved nodes of an answer as records, in the order of the prompt."""
    return tuple(_passage(hit) for hit in nodes)


def _passage(hit: NodeWithScore) -> Passage:
    text, node = _content(hit), hit.node
    metadata = node.metadata
    return Passage(
        text,
        metadata.get("file_name", ""),
        metadata.get("page_label", ""),
        hit.score,
        tokens=count_tokens(text),
        is_cut=metadata.get(IS_CUT, False),
        file_digest=metadata.get("file_digest", ""),
        start=getattr(node, "start_char_idx", None),
        end=getattr(node, "end_char_idx", None),
    )


def _content(hit: NodeWithScore) -> str:
    return hit.node.get_content(MetadataMode.LLM)


def _cut(hit: NodeWithScore, most_tokens: int) -> NodeWithScore:
    """The passage, or its beginning if it has more than `most_tokens`; an empty one if that is too little."""
    text = _content(hit)
    if count_tokens(text) <= most_tokens:
        return hit
    text, start, end = beginning(text, most_tokens), *_span(hit.node, hit.node)
    end = None if start is None or end is None else min(end, start + len(text))
    return _passage_node(text, {**hit.node.metadata, IS_CUT: True}, hit.score, (start, end))


def _span(first: BaseNode, last: BaseNode) -> tuple[int | None, int | None]:
    """The characters from the start of one node to the end of another; None where unknown."""
    return getattr(first, "start_char_idx", None), getattr(last, "end_char_idx", None)


def _passage_node(
    text: str, metadata: dict[str, Any], score: float | None, span: tuple[int | None, int | None]
) -> NodeWithScore:
    """A passage whose metadata is not part of the prompt."""
    names = list(metadata)
    node = TextNode(text=text, metadata=metadata, excluded_llm_metadata_keys=names, excluded_embed_metadata_keys=names)
    node.start_char_idx, node.end_char_idx = span
    return NodeWithScore(node=node, score=score)


def _outermost(hits: Sequence[NodeWithScore]) -> list[NodeWithScore]:
    """The hits without those whose text is contained in another hit's; of equal texts the first is kept."""
    texts = [_content(hit) for hit in hits]
    return [
        hit
        for i, hit in enumerate(hits)
        if not any(texts[i] in other and (texts[i] != other or j < i) for j, other in enumerate(texts) if j != i)
    ]


def _runs(sentences: Mapping[str, BaseNode]) -> list[list[BaseNode]]:
    """Sentences (by node id) grouped into runs of consecutive sentences."""
    starts = [node for node in sentences.values() if node.prev_node is None or node.prev_node.node_id not in sentences]
    runs = []
    for node in starts:
        run = [node]
        while (link := run[-1].next_node) is not None and link.node_id in sentences:
            run.append(sentences[link.node_id])
        runs.append(run)
    return runs


def _text(run: Sequence[BaseNode]) -> str:
    """The text of consecutive sentences as in the document, with a single space between sentences. Line breaks after
    pieces without a full stop, such as rows of a table, are kept."""
    text, after = "", None
    for node in run:
        content = node.get_content()
        if stripped := content.strip():
            text += (_gap(after, node) if after else "") + stripped
            after = node
    return text


def _gap(before: BaseNode, after: BaseNode) -> str:
    first, second = before.get_content(), after.get_content()
    white = first[len(first.rstrip()) :] + second[: len(second) - len(second.lstrip())]
    if "\n" in white and not ends_sentence(first):
        return "\n"
    end, start = getattr(before, "end_char_idx", None), getattr(after, "start_char_idx", None)
    return "" if not white and end is not None and end == start else " "


def _join(run: Sequence[BaseNode], scores: dict[str, float]) -> NodeWithScore:
    pages = [page for node in run for page in pages_of(node.metadata.get("page_label", ""))]
    metadata = {**run[0].metadata, **({"page_label": page_label(pages)} if pages else {})}
    score = max(scores[node.node_id] for node in run if node.node_id in scores)
    return _passage_node(_text(run), metadata, score, _span(run[0], run[-1]))
