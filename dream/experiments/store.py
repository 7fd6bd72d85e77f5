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

from dream.errors import DataError
from dream.records import (
    Evaluation,
    ExperimentResult,
    Score,
    Trial,
    TrialResult,
)
from dream.settings import Settings
from dream.storage.objects import Storage, open_storage
from dream.tables import evaluation_from_json, result_from_json, result_to_json, results_table

MANIFEST = "manifest.json"
TABLE = "results.csv"
USAGE = "usage.json"


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
    parts = [evaluation_from_json(storage.read_json(item.key)) for item in stored]
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
