"""Results as tables: a row per trial, or a row per question; and the tracebacks of failures as text."""

from collections.abc import Iterator
from typing import Any

import pandas

from dream.records import Answer, ExperimentResult, Failure, GoldenQuestion, Manifest, TrialResult, known_sum
from dream.records.means import means_of


def results_table(experiment: ExperimentResult) -> pandas.DataFrame:
    """A row per trial, with the columns of `trial_row`."""
    return pandas.DataFrame([trial_row(result) for result in experiment.results])


def question_table(result: TrialResult, manifest: Manifest) -> pandas.DataFrame:
    """A row per question of a trial; empty if the trial failed as a whole.

    Columns: `question_id`, `question`, `answer`, `ground_truth`, the score on each metric, `error` (the reason for a
    missing answer), `contexts` and `context_sources` (lists, in the order of the prompt), `context_tokens`,
    `latency_seconds`, `retrieval_seconds`, `prompt_tokens`, `completion_tokens`, and, where there are any,
    `<metric>_reason` (the explanation), `<metric>_error` (the reason for a missing score), `<metric>_not_applicable`
    (the reason why the metric does not apply), `thinking` (of the LLM, not judged), `is_cut` (the answer reached the
    token limit) and `tokens_are_estimated`.
    """
    if result.evaluation is None:
        return pandas.DataFrame()
    questions = {question.id: question for question in manifest.questions}
    scores: dict[str, dict[str, Any]] = {answer.question_id: {} for answer in result.answers}
    notes: dict[str, dict[str, Any]] = {answer.question_id: _marks(answer) for answer in result.answers}
    for score in result.evaluation.scores:
        scores[score.question_id][score.metric] = score.value
        texts = {"reason": score.reason, "error": score.error, "not_applicable": score.not_applicable}
        for kind, text in texts.items():
            if text:
                notes[score.question_id][f"{score.metric}_{kind}"] = text
    return pandas.DataFrame(
        [
            _texts(questions[answer.question_id], answer)
            | scores[answer.question_id]
            | _measures(answer)
            | notes[answer.question_id]
            for answer in result.answers
        ]
    )


def _texts(question: GoldenQuestion, answer: Answer) -> dict[str, Any]:
    return {
        "question_id": answer.question_id,
        "question": question.question,
        "answer": answer.text,
        "ground_truth": question.ground_truth,
    }


def _measures(answer: Answer) -> dict[str, Any]:
    return {
        "error": answer.error,
        "contexts": [passage.text for passage in answer.contexts],
        "context_sources": [passage.location for passage in answer.contexts],
        "context_tokens": sum(passage.tokens for passage in answer.contexts),
        "latency_seconds": answer.latency_seconds,
        "retrieval_seconds": answer.retrieval_seconds,
        "prompt_tokens": answer.prompt_tokens,
        "completion_tokens": answer.completion_tokens,
    }


def _marks(answer: Answer) -> dict[str, Any]:
    """The columns that only some answers have."""
    marks = {name: getattr(answer, name) for name in ("thinking", "is_cut", "tokens_are_estimated")}
    return {name: value for name, value in marks.items() if value}


def trial_row(result: TrialResult) -> dict[str, Any]:
    """One trial as a flat dictionary; a mean over no values is None.

    It has the trial's id, factors and parameters; for each metric the mean as in a comparison, where a question that
    the RAG system itself failed counts as the worst score, `<metric>_of_scored` (the mean over the scored questions
    alone), `<metric>_n_scored`, `<metric>_n_failed` and, if any, `<metric>_n_not_applicable`; `n_questions`,
    `n_unanswered` and `n_cut` (answers that reached the token limit); means per answered question of `context_tokens`,
    `passages` and `latency_seconds`; totals of `model_calls`, `usd` (paid, None if a price is unknown), `tokens` and
    `estimated_tokens` (those of them that DREAM estimated); `nodes` in the index, `seconds` of the trial, and `error`.
    """
    row: dict[str, Any] = {"trial_id": result.trial.id, **result.trial.config()}
    means = means_of(result)
    for summary in result.evaluation.summaries() if result.evaluation else ():
        row[summary.metric] = means[summary.metric]
        row[f"{summary.metric}_of_scored"] = summary.mean
        row[f"{summary.metric}_n_scored"] = summary.n_scored
        row[f"{summary.metric}_n_failed"] = summary.n_failed
        if summary.n_not_applicable:
            row[f"{summary.metric}_n_not_applicable"] = summary.n_not_applicable
    answered = [answer for answer in result.answers if answer.failure is None]
    row["n_questions"] = len(result.answers)
    row["n_unanswered"] = len(result.answers) - len(answered)
    row["n_cut"] = sum(answer.is_cut for answer in answered)
    row["context_tokens"] = _mean([sum(passage.tokens for passage in answer.contexts) for answer in answered])
    row["passages"] = _mean([len(answer.contexts) for answer in answered])
    row["latency_seconds"] = _mean([answer.latency_seconds for answer in answered])
    row["model_calls"] = sum(usage.calls for usage in result.usage)
    row["usd"] = known_sum(usage.usd for usage in result.usage)
    row["tokens"] = sum(usage.tokens for usage in result.usage)
    row["estimated_tokens"] = sum(usage.estimated_tokens for usage in result.usage)
    row["nodes"] = result.n_nodes
    row["seconds"] = result.seconds
    row["error"] = result.error
    return row


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None


def tracebacks(result: TrialResult) -> str:
    """The distinct tracebacks of a trial, each under the names of the answers and scores that failed with it.

    Tracebacks through the same lines of code count as equal, and the message of the first is shown. Empty if no
    exception was raised.
    """
    groups: dict[str, list[tuple[str, Failure]]] = {}
    for name, failure in _failures(result):
        if failure.traceback:
            groups.setdefault(_without_values(failure.traceback), []).append((name, failure))
    return "\n\n".join(_traceback_text(group) for group in groups.values())


def _failures(result: TrialResult) -> Iterator[tuple[str, Failure]]:
    if result.failure:
        yield "the trial", result.failure
    if result.evaluation is None:
        return
    yield from ((f"answer {answer.question_id}", answer.failure) for answer in result.answers if answer.failure)
    for score in (*result.evaluation.scores, *result.evaluation.repeats):
        if score.failure:
            yield f"{score.metric} of {score.question_id}", score.failure


def _without_values(traceback: str) -> str:
    """The lines of a traceback that name files, without the messages, which may quote the question."""
    return "\n".join(line for line in traceback.splitlines() if line.lstrip().startswith('File "'))


def _traceback_text(group: list[tuple[str, Failure]]) -> str:
    names = ", ".join(name for name, _ in group[:10])
    more = f" and {len(group) - 10} more" if len(group) > 10 else ""
    failure = group[0][1]
    return f"{names}{more}: {failure.reason}\n{failure.traceback}"
