"""Postprocessing of retrieved nodes to the passages in the prompt: no duplicates, within a token budget."""

from collections.abc import Iterable, Mapping, Sequence
from typing import cast

from llama_index.core import StorageContext
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.retrievers import AutoMergingRetriever, BaseRetriever, VectorIndexRetriever
from llama_index.core.schema import BaseNode, MetadataMode, NodeWithScore, QueryBundle, TextNode
from llama_index.core.storage.docstore.types import BaseDocumentStore

from dream.records import Passage
from dream.tokens import count_tokens


class ContextBudget(BaseNodePostprocessor):
    """Keeps passages, best first, up to a total of `context_tokens`; a passage that exceeds the rest is skipped.

    Passages that are contained in another passage are dropped. The best passage is always kept, even if it exceeds the
    budget by itself.
    """

    context_tokens: int

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        kept: list[NodeWithScore] = []
        left = self.context_tokens
        for hit in _outermost(nodes):
            size = count_tokens(hit.node.get_content(MetadataMode.LLM))
            if size <= left or not kept:
                kept.append(hit)
                left -= size
        return kept


class SentenceWindows(BaseNodePostprocessor):
    """Replaces sentences by the windows around them; overlapping and adjacent windows are merged into one passage.

    Sentences are processed in order of score, each with `window_size` sentences on either side. A sentence whose window
    would exceed `context_tokens` in total is skipped, except the first.
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
            wider = sentences | {node.node_id: node for node in self._window(hit.node)}
            if sentences and sum(count_tokens(_text(run)) for run in _runs(wider)) > self.context_tokens:
                continue
            sentences = wider
            scores[hit.node.node_id] = hit.score or 0.0
        passages = [_join(run, scores) for run in _runs(sentences)]
        return _outermost(sorted(passages, key=lambda passage: passage.score or 0.0, reverse=True))

    def _window(self, node: BaseNode) -> list[BaseNode]:
        before = self._walk(node, "prev_node")
        return [*reversed(before), node, *self._walk(node, "next_node")]

    def _walk(self, node: BaseNode, direction: str) -> list[BaseNode]:
        neighbours: list[BaseNode] = []
        while len(neighbours) < self.window_size and (link := getattr(node, direction)) is not None:
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
    text = hit.node.get_content(MetadataMode.LLM)
    metadata = hit.node.metadata
    return Passage(
        text,
        metadata.get("file_name", ""),
        metadata.get("page_label", ""),
        hit.score,
        tokens=count_tokens(text),
        file_digest=metadata.get("file_digest", ""),
        start=getattr(hit.node, "start_char_idx", None),
        end=getattr(hit.node, "end_char_idx", None),
    )


def _outermost(hits: Sequence[NodeWithScore]) -> list[NodeWithScore]:
    """The hits without those whose text is contained in another hit's; of equal texts the first is kept."""
    texts = [hit.node.get_content(MetadataMode.LLM) for hit in hits]
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
    return " ".join(text for node in run if (text := node.get_content().strip()))


def _join(run: Sequence[BaseNode], scores: dict[str, float]) -> NodeWithScore:
    node = TextNode(text=_text(run), metadata=run[0].metadata)
    node.start_char_idx = getattr(run[0], "start_char_idx", None)
    node.end_char_idx = getattr(run[-1], "end_char_idx", None)
    node.excluded_llm_metadata_keys = list(node.metadata)
    node.excluded_embed_metadata_keys = list(node.metadata)
    return NodeWithScore(node=node, score=max(scores[node.node_id] for node in run if node.node_id in scores))
