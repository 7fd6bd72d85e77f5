"""The questions to which each metric applies; this depends on the question, not on the answer."""

from collections import Counter
from collections.abc import Mapping, Sequence

from dream.errors import ConfigurationError, bullets
from dream.evaluation.answer_metrics import why_no_answer_metric
from dream.evaluation.evidence import Evidence
from dream.evaluation.locating import summary
from dream.metrics import Metric, find_metric
from dream.records import GoldenQuestion


def why_not_applicable(metric: Metric, question: GoldenQuestion, evidence: Evidence) -> str:
    """The reason why a metric has no value for a question; empty if it has one."""
    if metric.needs_evidence and not evidence.places:
        return f"no evidence can be matched: {evidence.unmatched}"
    return why_no_answer_metric(metric.name, question.ground_truth)


def applicability_notes(
    metrics: Sequence[str], questions: Sequence[GoldenQuestion], evidence: Mapping[str, Evidence]
) -> list[str]:
    """A line for each group of metrics that do not apply to all questions, or that need evidence.

    Raises:
        ConfigurationError: if a metric applies to no question at all.
    """
    definitions = [find_metric(name) for name in metrics]
    lines, impossible = [], []
    if names := [metric.name for metric in definitions if metric.needs_evidence]:
        line = summary(evidence[question.id] for question in questions)
        (lines if any(evidence[question.id].places for question in questions) else impossible).append(
            f"{', '.join(names)}: {line}"
        )
    for metric in definitions:
        if not metric.needs_evidence:
            _add_line(metric, questions, lines, impossible)
    if impossible:
        headline = "metrics without any question that can be scored; leave them out, or provide their inputs:"
        raise ConfigurationError(bullets(headline, impossible))
    return lines


def _add_line(metric: Metric, questions: Sequence[GoldenQuestion], lines: list[str], impossible: list[str]) -> None:
    reasons = Counter(why_not_applicable(metric, question, Evidence()) for question in questions)
    outside = len(questions) - reasons.pop("", 0)
    if outside:
        line = f"{metric.name}: not applicable to {outside} of {len(questions)} questions: {'; '.join(reasons)}"
        (lines if outside < len(questions) else impossible).append(line)
