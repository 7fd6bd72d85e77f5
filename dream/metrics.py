"""The metrics by name, and what each takes. They are ragas' own; `dream.evaluation.judge` computes them."""

from collections.abc import Sequence

from dream.errors import ConfigurationError

# What each metric's `ascore` takes.
ARGUMENTS = {
    "faithfulness": ("user_input", "response", "retrieved_contexts"),
    "answer_relevancy": ("user_input", "response"),
    "context_precision": ("user_input", "reference", "retrieved_contexts"),
    "context_recall": ("user_input", "retrieved_contexts", "reference"),
    "answer_correctness": ("user_input", "response", "reference"),
    "answer_similarity": ("reference", "response"),
}
METRICS = tuple(ARGUMENTS)
# Computed from embeddings: asking again gives the same number, so these have no judge noise.
COMPUTED = ("answer_similarity",)
# What each embeds of what it takes; answer_relevancy also the questions that it derives from the answer.
EMBEDDED = {
    "answer_relevancy": ("user_input",),
    "answer_correctness": ("response", "reference"),
    "answer_similarity": ("response", "reference"),
}


def check_metrics(metrics: Sequence[str]) -> None:
    """Raise a ConfigurationError if a metric is unknown, named twice, or none is named."""
    unknown = sorted(set(metrics) - set(METRICS))
    if unknown or not metrics or len(set(metrics)) != len(metrics):
        raise ConfigurationError(f"metrics={list(metrics)}: name each at most once, of: {', '.join(METRICS)}")
