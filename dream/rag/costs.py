"""`calls_of`: the model calls that a trial makes for each question, for the plan."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from dream.defaults import FACTORS
from dream.documents.stored_documents import characters_of
from dream.errors import DreamError
from dream.indexes.client import get_index
from dream.indexes.contexts import without_writer
from dream.models.cross_encoder import is_local
from dream.rag.measured_passages import MeasuredPassages
from dream.rag.parameters import DECOMPOSE, HYDE, LLM, MULTI_QUERY, NONE, PASSAGE_TOKENS, PASSAGES_A_RATING
from dream.rag.registry import RagMethod, find_rag_method, index_request
from dream.rag.travelling import is_built_in
from dream.records import Trial
from dream.tokens import count_tokens

if TYPE_CHECKING:
    from llama_index.core import VectorStoreIndex
    from llama_index.core.base.base_retriever import BaseRetriever

# The number of passages that are read is estimated from at most this many questions, and not for larger documents,
# which would take long to search.
MEASURED_QUESTIONS, MEASURED_CHARACTERS = 40, 1_000_000
# Suffixes of the names under which measurements are stored.
_ENDINGS = {"passages": "", "tokens": " tokens", "ranked_tokens": " ranked tokens", "ratings": " ratings"}
# Methods that read as many chunks as the word search, with which they are estimated.
_WORDS, _LIKE_WORDS = "bm25", ("mmr",)
# The mean fill of chunks, which end at sentence ends.
FULLNESS = 0.9


@dataclass(frozen=True)
class QuestionCalls:
    """Calls for one question, and the number of passages that the LLM reads (0 if unknown).

    `rewriting`, `ranking` and `answering` are calls of the answering LLM.
    """

    answering: float
    rewriting: float
    ranking: float
    embedding: float
    reranking: float
    passages: float

    @property
    def of_llm(self) -> float:
        """All calls of the answering LLM."""
        return self.answering + self.rewriting + self.ranking


def calls_of(trial: Trial, methods: Mapping[str, RagMethod] | None = None) -> QuestionCalls:
    """The calls of a trial (not a baseline), from the declarations of its method and its factors.

    Example:
        >>> factors = {"top_k": 3, "reranker": "llm", "query_transform": "hyde"}
        >>> calls_of(Trial("chunks_with_overlap", "llm", "embed", factors))
        QuestionCalls(answering=1, rewriting=1, ranking=2, embedding=2.0, reranking=0, passages=3.0)
    """
    method = find_rag_method(trial.query_engine_identifier, methods)
    values = {**method.all_defaults, **trial.parameters}
    transform, reranker = values.get("query_transform", NONE), values.get("reranker", NONE)
    if not {"query_transform", "reranker"} <= method.shared:
        transform = reranker = NONE
    searches = 1 + further_searches(values) if transform != NONE else 1
    ranked = values.get("rerank_from", 0)
    return QuestionCalls(
        answering=method.cost.llm_calls or 1.0,
        rewriting=int(transform != NONE),
        ranking=-(-ranked // PASSAGES_A_RATING) if reranker == LLM else 0,
        embedding=method.cost.query_embeddings * searches,
        reranking=int(reranker not in (NONE, LLM) and not is_local(reranker)),
        passages=_passages(method, values),
    )


def further_searches(parameters: Mapping[str, Any]) -> float:
    """The number of texts that are searched for besides the question. For decomposed questions it is the mean of none
    (a simple question) and `n_queries`.

    Example:
        >>> further_searches({"query_transform": "decompose", "n_queries": 3})
        1.5
    """
    n_queries = parameters.get("n_queries", FACTORS["n_queries"])
    return {HYDE: 1, MULTI_QUERY: n_queries, DECOMPOSE: n_queries / 2}.get(parameters.get("query_transform", NONE), 0)


def _passages(method: RagMethod, values: Mapping[str, Any]) -> float:
    """The number of retrieved passages, or of those that fit the budget; 0 for a method without search."""
    if "top_k" not in values:
        return 0.0
    found = values["top_k"] * method.cost.passages_a_hit
    size = method.cost.passage_tokens or values.get("chunk_size", 0) * FULLNESS
    budget = values.get("context_tokens")
    return max(1.0, min(found, budget // size)) if size and budget else found


def chunk_tokens(parameters: Mapping[str, Any], of_sentence: int) -> int:
    """The size in tokens of an index's smallest texts with these parameters; `of_sentence` if they are sentences."""
    return parameters.get("chunk_size") or min(parameters.get("chunk_sizes", (of_sentence,)))


@dataclass(frozen=True)
class TextsRead:
    """Means over questions: the number of passages that the LLM reads, and their tokens; the tokens of the hits that a
    reranker reads, and the calls if it is an LLM. None if not measured."""

    passages: float
    tokens: float | None = None
    ranked_tokens: float | None = None
    ratings: float | None = None


def texts_read(
    trials: Sequence[Trial],
    documents: Sequence[Any],
    questions: Sequence[str],
    methods: Mapping[str, RagMethod] | None = None,
) -> dict[str, TextsRead]:
    """The texts that are read in each trial, by trial id.

    The number of merged neighbours and the size of passages depend on documents and questions. They are measured with a
    word search instead of vectors, which costs no model call, and the results are stored. Embedding models that find
    whole topics rather than single words merge more: up to a third fewer passages. For large documents and user-defined
    methods, the method's declaration is used.
    """
    n_few = min(len(questions), MEASURED_QUESTIONS)
    few = [questions[place * len(questions) // n_few] for place in range(n_few)]
    is_large = characters_of(documents) > MEASURED_CHARACTERS
    kept = None if is_large else MeasuredPassages(documents, few)
    known: dict[str, TextsRead | None] = {}
    new: dict[str, float] = {}
    found = {}
    for trial in trials:
        key = f"{trial.query_engine_identifier} {sorted(trial.parameters.items(), key=str)}"
        if key not in known:
            known[key] = None
            if kept is not None and is_built_in(find_rag_method(trial.query_engine_identifier, methods)):
                known[key] = _kept(kept, key)
                if known[key] is None and (measured := _measured(trial, documents, few)) is not None:
                    known[key] = measured
                    values = {f"{key}{ending}": getattr(measured, name) for name, ending in _ENDINGS.items()}
                    new |= {name: value for name, value in values.items() if value is not None}
        found[trial.id] = known[key] or TextsRead(calls_of(trial, methods).passages)
    if kept is not None:
        kept.keep(new)
    return found


def _kept(kept: MeasuredPassages, key: str) -> TextsRead | None:
    if not (passages := kept.get(key)):
        return None
    others = {name: kept.get(f"{key}{ending}") for name, ending in _ENDINGS.items() if ending}
    return TextsRead(passages, **others)


def _measured(trial: Trial, documents: Sequence[Any], questions: Sequence[str]) -> TextsRead | None:
    """The texts that a trial reads, measured with a word search; None if the method cannot use one."""
    chunker, chunking, _ = index_request(trial)
    reranker = trial.parameters.get("reranker", NONE)
    plain = {name: value for name, value in trial.parameters.items() if name not in ("query_transform", "reranker")}
    try:
        index: Any = _WordIndex(get_index(documents, chunker, without_writer(chunking), ""))
        passages = _retrieved(_engine(trial, index, plain).retrieve, questions)
        if not any(passages):
            return None
        read = TextsRead(_mean(map(len, passages)), _mean(map(sum, passages)))
        if reranker == NONE or is_local(reranker):
            return read
        n_ranked = trial.parameters.get("rerank_from", FACTORS["rerank_from"])
        wider = {**plain, "top_k": max(plain["top_k"], n_ranked)} if "top_k" in plain else plain
        most = PASSAGE_TOKENS if reranker == LLM else None
        hits = [each[:n_ranked] for each in _retrieved(_engine(trial, index, wider).retriever.retrieve, questions)]
        tokens = _mean(sum(min(size, most or size) for size in each) for each in hits)
        return replace(read, ranked_tokens=tokens, ratings=_mean(-(-len(each) // PASSAGES_A_RATING) for each in hits))
    except (DreamError, AttributeError, IndexError):
        return (
            _measured(_by_words(trial), documents, questions) if trial.query_engine_identifier in _LIKE_WORDS else None
        )


def _by_words(trial: Trial) -> Trial:
    """A trial that reads as much as the given one, but searches by words."""
    known = find_rag_method(_WORDS).all_defaults
    return Trial(_WORDS, trial.llm_identifier, "", {k: v for k, v in trial.parameters.items() if k in known})


def _engine(trial: Trial, index: Any, parameters: Mapping[str, Any]) -> Any:
    from llama_index.core.llms import MockLLM

    from dream.rag.answers import query_engine_picker

    return query_engine_picker(trial.query_engine_identifier, index, MockLLM(), parameters)


def _retrieved(retrieve: Callable[[Any], Sequence[Any]], questions: Sequence[str]) -> list[list[int]]:
    """The tokens of each retrieved text, for each question."""
    from llama_index.core.schema import MetadataMode, QueryBundle

    return [
        [count_tokens(hit.node.get_content(MetadataMode.LLM)) for hit in retrieve(QueryBundle(question))]
        for question in questions
    ]


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return sum(found) / len(found)


class _WordIndex:
    """An index that searches by words."""

    def __init__(self, index: "VectorStoreIndex") -> None:
        self._index = index
        self.docstore, self.storage_context, self.vector_store = (
            index.docstore,
            index.storage_context,
            index.vector_store,
        )

    def as_retriever(self, similarity_top_k: int) -> "BaseRetriever":
        from dream.rag.words import WordRetriever

        return WordRetriever(self._index, similarity_top_k)
