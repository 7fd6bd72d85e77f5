"""The metrics of ragas 0.4.3: definition, interpretation, inputs and number of judge calls.

`dream.evaluation.judge` computes them. A further metric needs an entry in `DEFINITIONS` and a line in the judge.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from dream.errors import ConfigurationError


@dataclass(frozen=True)
class Metric:
    """One metric; higher values are better.

    Args:
        question: the question that the metric answers.
        meaning: the computation of the value.
        low_value: possible causes of a low value.
        arguments: the arguments of the metric's `ascore`, by ragas' names; `reference` is the ground truth.
        embedded: the arguments that are embedded.
        judge_calls: calls of the judge LLM per answer.
        calls_a_passage: further calls per retrieved passage.
        calls_a_derived_question: further calls per question that is derived from the answer; there are `strictness`
            of them, and they are embedded too.
        range: the possible values, in words.
        bounds: the least and the greatest possible value.
    """

    name: str
    question: str
    meaning: str
    low_value: str
    arguments: tuple[str, ...]
    embedded: tuple[str, ...] = ()
    judge_calls: int = 0
    calls_a_passage: int = 0
    calls_a_derived_question: int = 0
    range: str = "0 to 1"
    bounds: tuple[float, float] = (0.0, 1.0)

    @property
    def judged(self) -> bool:
        """True if the metric calls the judge LLM; otherwise repeated judgements are equal."""
        return self.calls(strictness=1, passages=1) > 0

    @property
    def derives_questions(self) -> bool:
        """True if the judge derives questions from the answer, which are then embedded."""
        return self.calls_a_derived_question > 0

    @property
    def needs_answer(self) -> bool:
        """True if the value depends on the answer."""
        return "response" in self.arguments

    @property
    def needs_contexts(self) -> bool:
        """True if the value depends on the retrieved contexts."""
        return "retrieved_contexts" in self.arguments

    @property
    def needs_reference(self) -> bool:
        """True if the value depends on the ground truth."""
        return "reference" in self.arguments

    def calls(self, strictness: int, passages: float) -> float:
        """The calls of the judge LLM per answer.

        Args:
            strictness: the number of derived questions.
            passages: the (mean) number of retrieved passages.
        """
        return self.judge_calls + self.calls_a_derived_question * strictness + self.calls_a_passage * passages


DEFINITIONS = {
    metric.name: metric
    for metric in (
        Metric(
            "faithfulness",
            question="Is the answer supported by the retrieved passages?",
            meaning="supported statements of the answer / all its statements",
            low_value="The LLM adds what the passages do not say. A faithful answer can still be wrong.",
            arguments=("user_input", "response", "retrieved_contexts"),
            judge_calls=2,
        ),
        Metric(
            "answer_relevancy",
            question="Does the answer address the question?",
            meaning="mean cosine similarity of the question and the questions that the judge derives from the answer "
            "(`strictness`, 1 by default); 0 where the judge finds the answer noncommittal each time",
            low_value="The answer evades the question, or is about something else. Whether it is right is not asked.",
            arguments=("user_input", "response"),
            embedded=("user_input",),
            calls_a_derived_question=1,
            range="-1 to 1, in practice 0 to 1",
            bounds=(-1.0, 1.0),
        ),
        Metric(
            "context_precision",
            question="Are the useful passages ranked first?",
            meaning="average precision: the mean, over the useful passages, of the share of useful passages down to "
            "their rank; 0 where none is useful",
            low_value="Useful passages stand below useless ones, or none was retrieved: embedding model, chunk size.",
            arguments=("user_input", "reference", "retrieved_contexts"),
            calls_a_passage=1,
        ),
        Metric(
            "context_recall",
            question="Do the retrieved passages hold the whole ground truth?",
            meaning="statements of the ground truth that the passages support / all its statements",
            low_value="Retrieval missed what the answer needs: chunking, embedding model, `top_k`.",
            arguments=("user_input", "retrieved_contexts", "reference"),
            judge_calls=1,
        ),
        Metric(
            "answer_correctness",
            question="Does the answer say what the ground truth says?",
            meaning="0.75 x F1 of their statements + 0.25 x `answer_similarity`; F1 = TP / (TP + (FP + FN) / 2) with "
            "TP in both, FP only in the answer, FN only in the ground truth",
            low_value="The answer is wrong, incomplete or says more than was asked. With a low `context_recall` it is "
            "the retrieval, with a high one the LLM.",
            arguments=("user_input", "response", "reference"),
            embedded=("response", "reference"),
            judge_calls=3,
            range="-0.25 to 1, in practice 0 to 1",
            bounds=(-0.25, 1.0),
        ),
        Metric(
            "answer_similarity",
            question="Is the answer close to the ground truth in meaning?",
            meaning="cosine similarity of their embeddings; no LLM judges it",
            low_value="The answer is about something else. A high value does not show that it is right: a wrong number "
            "changes it little.",
            arguments=("reference", "response"),
            embedded=("response", "reference"),
            range="-1 to 1, in practice 0 to 1",
            bounds=(-1.0, 1.0),
        ),
    )
}
METRICS = tuple(DEFINITIONS)
COMPUTED = tuple(name for name, metric in DEFINITIONS.items() if not metric.judged)
EXPLANATION_COLUMNS = ("metric", "asks", "computed as", "range", "a low value points at")


def explanation_rows(metrics: Sequence[str] = METRICS) -> list[tuple[str, ...]]:
    """A row of texts per metric, with the columns `EXPLANATION_COLUMNS`."""
    chosen = [DEFINITIONS[name] for name in metrics]
    return [(metric.name, metric.question, metric.meaning, metric.range, metric.low_value) for metric in chosen]


def explanation_table(metrics: Sequence[str] = METRICS) -> str:
    """`explanation_rows` as a Markdown table."""
    rows = [(f"`{name}`", *texts) for name, *texts in explanation_rows(metrics)]
    lines = [EXPLANATION_COLUMNS, ["---"] * len(EXPLANATION_COLUMNS), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def check_metrics(metrics: Sequence[str]) -> None:
    """Raise a ConfigurationError for an unknown metric, a repeated metric, or an empty list."""
    unknown = sorted(set(metrics) - set(METRICS))
    if unknown or not metrics or len(set(metrics)) != len(metrics):
        raise ConfigurationError(f"metrics={list(metrics)}: name each at most once, of: {', '.join(METRICS)}")
