"""Experiments in storage: one JSON file for the manifest, one for each trial, and a CSV for people.

<experiment>/manifest.json        what was run: trials, judge, golden dataset, versions
<experiment>/trials/<id>.json     {config, summary, answers, scores, repeats, usage, error} of a trial or a baseline
<experiment>/blocks/<id>/*.json   finished questions of a trial that is not finished
<experiment>/usage.json           the gateway's meter, over all runs
<experiment>/results.csv          one row a trial
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import pandas

from dream.errors import DataError
from dream.records import (
    Answer,
    Evaluation,
    ExperimentResult,
    Passage,
    Score,
    Trial,
    TrialResult,
)
from dream.settings import Settings
from dream.storage import Storage, open_storage

MANIFEST = "manifest.json"
TABLE = "results.csv"
USAGE = "usage.json"


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
    evaluation = _evaluation(data) if data["answers"] is not None else None
    trial = Trial(**data["trial"])
    return TrialResult(trial, evaluation, data["seconds"], data["n_nodes"], tuple(data["usage"]), data["error"])


def save_manifest(storage: Storage, name: str, manifest: Mapping[str, Any]) -> None:
    """Write what is going to be run, before it runs."""
    storage.write_json(f"{name}/{MANIFEST}", dict(manifest))


def load_manifest(storage: Storage, name: str) -> dict[str, Any]:
    """What an experiment was started with."""
    return storage.read_json(f"{name}/{MANIFEST}")


def save_result(storage: Storage, name: str, result: TrialResult) -> None:
    """Write one trial's result, whole or not at all."""
    storage.write_json(f"{name}/trials/{result.trial.id}.json", result_to_json(result))


def save_block(storage: Storage, name: str, trial_id: str, block: Evaluation) -> None:
    """Write some finished questions of a trial that goes on."""
    first = block.answers[0].question_id
    content = {
        "answers": [asdict(answer) for answer in block.answers],
        "scores": [asdict(score) for score in block.scores],
        "repeats": [asdict(score) for score in block.repeats],
    }
    storage.write_json(f"{name}/blocks/{trial_id}/{first}.json", content)


def load_blocks(storage: Storage, name: str, trial_id: str) -> Evaluation:
    """The questions of a trial that were finished, whether or not the trial was."""
    stored = storage.list(f"{name}/blocks/{trial_id}/")
    parts = [_evaluation(storage.read_json(item.key)) for item in stored]
    return Evaluation(
        tuple({answer.question_id: answer for part in parts for answer in part.answers}.values()),
        _latest(score for part in parts for score in part.scores),
        _latest(score for part in parts for score in part.repeats),
    )


def _latest(scores: Iterable[Score]) -> tuple[Score, ...]:
    return tuple({(score.question_id, score.metric, score.repeat): score for score in scores}.values())


def delete_blocks(storage: Storage, name: str, trial_id: str) -> None:
    """Remove the blocks of a trial whose result is whole."""
    for item in storage.list(f"{name}/blocks/{trial_id}/"):
        storage.delete(item.key)


def save_usage(storage: Storage, name: str, usage: Sequence[Mapping[str, Any]]) -> None:
    """Write the meter."""
    storage.write_json(f"{name}/{USAGE}", list(usage))


def load_usage(storage: Storage, name: str) -> list[dict[str, Any]]:
    """The meter of all runs so far; empty where none was kept."""
    return storage.read_json(f"{name}/{USAGE}") if storage.exists(f"{name}/{USAGE}") else []


def save_table(storage: Storage, experiment: ExperimentResult) -> None:
    """Write the table of all trials as CSV."""
    storage.write_csv(f"{experiment.name}/{TABLE}", results_table(experiment))


def experiment_exists(storage: Storage, name: str) -> bool:
    """Whether an experiment of this name was started."""
    return storage.exists(f"{name}/{MANIFEST}")


def experiment_names(storage: Storage) -> list[str]:
    """The names of all experiments in storage, sorted."""
    suffix = f"/{MANIFEST}"
    return [item.key.removesuffix(suffix) for item in storage.list() if item.key.endswith(suffix)]


def latest_experiment(settings: Settings) -> str:
    """The name of the experiment that was started last.

    Raises:
        DataError: if there is none yet.
    """
    storage = open_storage(settings.experiments_uri, settings)
    names = experiment_names(storage)
    if not names:
        raise DataError(f"no experiment at {storage.uri('')} yet: start one with `dream run`")
    return max(names, key=lambda name: storage.read_json(f"{name}/{MANIFEST}")["started"])


def load_results(storage: Storage, name: str, trials: Sequence[Trial]) -> list[TrialResult]:
    """The results of trials in their order; one that has none yet is recorded as failed."""
    written = {item.key for item in storage.list(f"{name}/trials/")}
    found = []
    for trial in trials:
        key = f"{name}/trials/{trial.id}.json"
        result = result_from_json(storage.read_json(key)) if key in written else None
        found.append(result or TrialResult(trial, error="not finished: the experiment stopped before this trial"))
    return found


def load_experiment(name: str, settings: Settings | None = None) -> ExperimentResult:
    """Read an experiment from storage; trials without a result yet are recorded as failed.

    Raises:
        DataError: if there is no experiment of this name, listing those there are.
    """
    settings = settings or Settings.from_environment()
    storage = open_storage(settings.experiments_uri, settings)
    if not experiment_exists(storage, name):
        known = ", ".join(experiment_names(storage)) or "none"
        raise DataError(f"no experiment {name!r} at {storage.uri('')}; there are: {known}")
    manifest = load_manifest(storage, name)
    found, baselines = (
        tuple(load_results(storage, name, [Trial(**planned) for planned in manifest.get(part, [])]))
        for part in ("trials", "baselines")
    )
    return ExperimentResult(name, manifest, found, tuple(load_usage(storage, name)), baselines)


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


def _evaluation(data: Mapping[str, Any]) -> Evaluation:
    scores, repeats = (tuple(Score(**score) for score in data.get(part, [])) for part in ("scores", "repeats"))
    return Evaluation(tuple(_answer(answer) for answer in data["answers"]), scores, repeats)


def _answer(data: Mapping[str, Any]) -> Answer:
    return Answer(**{**data, "contexts": tuple(Passage(**passage) for passage in data["contexts"])})
