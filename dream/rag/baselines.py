"""Baselines: each LLM without contexts (closed-book) and with the reference contexts (oracle).

They are the lower and upper reference points for retrieval. They run with the trials, on the same questions and with
the same judge, and are never ranked. `dream.comparison.loss_split` uses them to attribute a trial's lost score.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dream.errors import ConfigurationError
from dream.metrics import definition_of, metric_names
from dream.rag.methods import answer_from
from dream.records import CLOSED_BOOK, ORACLE, GoldenQuestion, Source, Trial

if TYPE_CHECKING:
    from llama_index.core.base.base_query_engine import BaseQueryEngine
    from llama_index.core.llms import LLM

CLOSED_BOOK_PROMPT = (
    "Answer the query from what you know. Answer briefly, and say so if you do not know.\nQuery: {query_str}\nAnswer: "
)


def baseline_trials(trials: Sequence[Trial], questions: Sequence[GoldenQuestion]) -> tuple[Trial, ...]:
    """A closed-book and an oracle trial per LLM; without the oracle if no question has reference contexts.

    Example:
        >>> trials = [Trial("chunks_with_overlap", "gpt-4o-mini", "text-embedding-3-small")]
        >>> [trial.name for trial in baseline_trials(trials, [GoldenQuestion("a", "Who?", "Ida.", ("It was Ida.",))])]
        ['closed_book + gpt-4o-mini', 'oracle + gpt-4o-mini']
    """
    llms = dict.fromkeys(trial.llm_identifier for trial in trials if trial.llm_identifier)
    pairs = [Trial(name, llm, "") for llm in llms for name in (CLOSED_BOOK, ORACLE)]
    return tuple(trial for trial in pairs if questions_of(trial, questions))


def questions_of(trial: Trial, questions: Sequence[GoldenQuestion]) -> tuple[GoldenQuestion, ...]:
    """The questions of a trial: all of them, but for the oracle only those with reference contexts."""
    needs_contexts = trial.query_engine_identifier == ORACLE
    return tuple(question for question in questions if question.reference_contexts or not needs_contexts)


def metrics_of(trial: Trial, metrics: Sequence[str]) -> tuple[str, ...]:
    """The metrics of a trial: all of them, but for a baseline only those that are defined without retrieval."""
    if not trial.is_baseline:
        return tuple(metrics)
    return tuple(name for name in metrics if _is_sensible(name, trial.query_engine_identifier))


def _is_sensible(name: str, baseline: str) -> bool:
    """True if a metric is meaningful for a baseline, whose contexts, if any, were not retrieved."""
    metric = definition_of(name)
    return metric.needs_answer and not metric.needs_evidence and (baseline == ORACLE or not metric.needs_contexts)


def check_baseline_metrics(metrics: Sequence[str]) -> None:
    """Raise a ConfigurationError if no metric can be computed for both baselines."""
    if not any(_is_sensible(name, CLOSED_BOOK) for name in metrics):
        valid = [name for name in metric_names() if _is_sensible(name, CLOSED_BOOK)]
        raise ConfigurationError(
            f"baselines with metrics={list(metrics)}: all need retrieved contexts; add one of: {', '.join(valid)}"
        )


def baseline_engine(trial: Trial, llm: "LLM", questions: Sequence[GoldenQuestion]) -> "BaseQueryEngine":
    """The query engine of a baseline; the oracle looks up reference contexts by the text of the question."""
    return _closed_book(llm) if trial.query_engine_identifier == CLOSED_BOOK else _oracle(llm, questions)


def _closed_book(llm: "LLM") -> "BaseQueryEngine":
    from llama_index.core import PromptTemplate
    from llama_index.core.query_engine import CustomQueryEngine

    prompt = PromptTemplate(CLOSED_BOOK_PROMPT)

    class ClosedBook(CustomQueryEngine):
        def custom_query(self, query_str: str) -> str:
            return llm.predict(prompt, query_str=query_str)

        async def acustom_query(self, query_str: str) -> str:
            return await llm.apredict(prompt, query_str=query_str)

    return ClosedBook()


def _oracle(llm: "LLM", questions: Sequence[GoldenQuestion]) -> "BaseQueryEngine":
    from llama_index.core.base.base_retriever import BaseRetriever
    from llama_index.core.schema import NodeWithScore, QueryBundle

    nodes: dict[str, list[NodeWithScore]] = {}
    for question in questions:
        of_question = nodes.setdefault(question.question, [])
        texts = [hit.node.get_content() for hit in of_question]
        of_question += [hit for hit in _reference_nodes(question) if hit.node.get_content() not in texts]

    class ReferenceContexts(BaseRetriever):
        def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
            return nodes.get(query_bundle.query_str, [])

    return answer_from(ReferenceContexts(), llm)


def _reference_nodes(question: GoldenQuestion) -> list[Any]:
    """The reference contexts as nodes, with their sources if the dataset names one per context."""
    from llama_index.core.schema import NodeWithScore, TextNode

    contexts, sources = question.reference_contexts, question.sources
    if len(sources) != len(contexts):
        sources = (Source(""),) * len(contexts)
    return [
        NodeWithScore(
            node=TextNode(
                text=text,
                metadata={"file_name": source.file, "page_label": source.page},
                excluded_llm_metadata_keys=["file_name", "page_label"],
            )
        )
        for text, source in zip(contexts, sources, strict=True)
    ]
