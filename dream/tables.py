"""An experiment's results as plain JSON and as tables: a row for each trial, and a row for each question."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

import pandas

from dream.records import Answer, Evaluation, ExperimentResult, Passage, Score, Trial, TrialResult


def result_to_json(result: TrialResult) -> dict[str, Any]:
    """A trial's result as plain JSON; `result_from_json` is its inverse."""
    evaluation = result.evaluation
    return {
        "trial_id": result.trial.id,
        "config": result.trial.config(),
        "trial": asdict(result.trial),
        "error": result.error,
        "seconds": result.seconds,
        "n_nodes": result.n_nodes,
        "usage": [dict(row) for row in result.usage],
        "summary": [asdict(summary) for summary in evaluation.summaries()] if evaluation else [],
        "answers": [asdict(answer) for answer in evaluation.answers] if evaluation else None,
        "scores": [asdict(score) for score in evaluation.scores] if evaluation else None,
        "repeats": [asdict(score) for score in evaluation.repeats] if evaluation else [],
    }


def result_from_json(data: Mapping[str, Any]) -> TrialResult:
    """A trial's result from the JSON that `result_to_json` wrote."""
    evaluation = evaluation_from_json(data) if data["answers"] is not None else None
    trial = Trial(**data["trial"])
    return TrialResult(trial, evaluation, data["seconds"], data["n_nodes"], tuple(data["usage"]), data["error"])


def results_table(experiment: ExperimentResult) -> pandas.DataFrame:
    """One row a trial: knobs, for each metric the mean and how many were scored and failed, cost and error."""
    return pandas.DataFrame([trial_row(result) for result in experiment.results])


def question_table(result: TrialResult, manifest: Mapping[str, Any]) -> pandas.DataFrame:
    """One row a question of a trial: question, answer, ground truth, scores, contexts, tokens and times.

    `error` is the answer's; `<metric>_reason` and `<metric>_error` are what the judge said, and why it gave no score.
    """
    if result.evaluation is None:
        return pandas.DataFrame()
    questions = {question["id"]: question for question in manifest["golden_dataset"]["questions"]}
    scores: dict[str, dict[str, Any]] = {answer.question_id: {} for answer in _answers(result)}
    notes: dict[str, dict[str, Any]] = {answer.question_id: {} for answer in _answers(result)}
    for score in result.evaluation.scores:
        scores[score.question_id][score.metric] = score.value
        for what, text in (("reason", score.reason), ("error", score.error)):
            if text:
                notes[score.question_id][f"{score.metric}_{what}"] = text
    return pandas.DataFrame(
        [
            _what_was_said(questions[answer.question_id], answer)
            | scores[answer.question_id]
            | _how_it_came_about(answer)
            | notes[answer.question_id]
            for answer in _answers(result)
        ]
    )


def _answers(result: TrialResult) -> tuple[Answer, ...]:
    return result.evaluation.answers if result.evaluation else ()


def _what_was_said(question: Mapping[str, Any], answer: Answer) -> dict[str, Any]:
    return {
        "question_id": answer.question_id,
        "question": question["question"],
        "answer": answer.text,
        "ground_truth": question["ground_truth"],
    }


def _how_it_came_about(answer: Answer) -> dict[str, Any]:
    return {
        "error": answer.error,
        "contexts": [passage.text for passage in answer.contexts],
        "context_sources": [f"{passage.file_name}#page={passage.page_label}" for passage in answer.contexts],
        "context_tokens": sum(passage.tokens for passage in answer.contexts),
        "latency_seconds": answer.latency_seconds,
        "retrieval_seconds": answer.retrieval_seconds,
        "prompt_tokens": answer.prompt_tokens,
        "completion_tokens": answer.completion_tokens,
    }


def trial_row(result: TrialResult) -> dict[str, Any]:
    """One trial in numbers; a mean over nothing is None."""
    row: dict[str, Any] = {"trial_id": result.trial.id, **result.trial.config()}
    for summary in result.evaluation.summaries() if result.evaluation else ():
        row[summary.metric] = summary.mean
        row[f"{summary.metric}_n_scored"] = summary.n_scored
        row[f"{summary.metric}_n_failed"] = summary.n_failed
    answered = [answer for answer in _answers(result) if answer.error is None]
    row["n_questions"] = len(_answers(result))
    row["n_unanswered"] = len(_answers(result)) - len(answered)
    row["context_tokens"] = _mean([sum(passage.tokens for passage in answer.contexts) for answer in answered])
    row["passages"] = _mean([len(answer.contexts) for answer in answered])
    row["latency_seconds"] = _mean([answer.latency_seconds for answer in answered])
    row["model_calls"] = sum(usage["calls"] for usage in result.usage)
    row["usd"] = _total(usage.get("usd") for usage in result.usage)
    row["tokens"] = sum(usage["prompt_tokens"] + usage["completion_tokens"] for usage in result.usage)
    row["nodes"] = result.n_nodes
    row["seconds"] = result.seconds
    row["error"] = result.error
    return row


def _total(values: Iterable[float | None]) -> float | None:
    """A sum, None where a part of it is not known."""
    known = list(values)
    return None if None in known else sum(value for value in known if value is not None)


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None


def evaluation_from_json(data: Mapping[str, Any]) -> Evaluation:
    """Answers and scores as `result_to_json` wrote them, also of a block of questions."""
    scores, repeats = (tuple(Score(**score) for score in data.get(part, [])) for part in ("scores", "repeats"))
    return Evaluation(tuple(_answer(answer) for answer in data["answers"]), scores, repeats)


def _answer(data: Mapping[str, Any]) -> Answer:
    return Answer(**{**data, "contexts": tuple(Passage(**passage) for passage in data["contexts"])})
