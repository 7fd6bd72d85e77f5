"""Experiments in storage: one JSON file for the manifest, one for each trial, and a CSV for people.

<experiment>/manifest.json        trials, judge, golden dataset, versions (`dream.records.manifest.Manifest`)
<experiment>/trials/<id>.json     {config, summary, answers, scores, repeats, usage, failure} of a trial or a baseline
<experiment>/blocks/<id>/*.json   finished questions of a trial that is not finished <experiment>/sift/<id>.json the
scores of a retrieval combination in the sift before the experiment <experiment>/held_out/...         trials/ and
blocks/ of the trials that answered the held-out questions <experiment>/confirmation.json    whether the choice was
confirmed by these (`dream.records.confirmation.Confirmation`) <experiment>/stop/<id>.json       a trial that is to stop
(`dream.experiments.stopping`) <experiment>/usage.json           the gateway's meter, over all runs
<experiment>/results.csv          one row a trial
"""

import secrets
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime

from dream.errors import DataError
from dream.records import (
    Confirmation,
    Evaluation,
    ExperimentResult,
    Failure,
    FailureKind,
    Manifest,
    Score,
    Trial,
    TrialResult,
    UsageRow,
)
from dream.settings import Settings
from dream.storage import Storage, open_storage
from dream.tables import results_table

NOT_FINISHED = Failure(FailureKind.NOT_FINISHED, "not finished: the experiment stopped before this trial")
MANIFEST = "manifest.json"
TABLE = "results.csv"
USAGE = "usage.json"
CONFIRMATION = "confirmation.json"


def save_manifest(storage: Storage, name: str, manifest: Manifest) -> None:
    """Write an experiment's manifest, before it runs."""
    storage.write_json(f"{name}/{MANIFEST}", manifest.to_json())


def load_manifest(storage: Storage, name: str) -> Manifest:
    """The manifest of an experiment."""
    return Manifest.from_json(storage.read_json(f"{name}/{MANIFEST}"))


def find_manifest(storage: Storage, name: str) -> Manifest:
    """The manifest of an experiment.

    Raises:
        DataError: if there is no experiment of this name, listing those there are.
    """
    if not experiment_exists(storage, name):
        names = ", ".join(experiment_names(storage)) or "none"
        raise DataError(f"no experiment {name!r} at {storage.uri('')}; there are: {names}")
    return load_manifest(storage, name)


def load_manifests(storage: Storage) -> dict[str, Manifest]:
    """The manifests of all experiments by name; those of later versions of DREAM are left out."""
    manifests = {}
    for name in experiment_names(storage):
        with suppress(DataError):
            manifests[name] = load_manifest(storage, name)
    return manifests


def save_result(storage: Storage, name: str, result: TrialResult) -> None:
    """Write one trial's result, atomically."""
    storage.write_json(f"{name}/trials/{result.trial.id}.json", result.to_json())


def save_sift(storage: Storage, name: str, results: Iterable[TrialResult]) -> None:
    """Write the scores of the retrieval combinations that were sifted, one file each."""
    for result in results:
        storage.write_json(f"{name}/sift/{result.trial.id}.json", result.to_json())


def save_block(storage: Storage, name: str, trial_id: str, block: Evaluation) -> None:
    """Write some finished questions of a trial that is still running."""
    first = block.answers[0].question_id
    storage.write_json(f"{name}/blocks/{trial_id}/{first}.json", block.to_json())


def load_blocks(storage: Storage, name: str, trial_id: str) -> Evaluation:
    """The stored finished questions of a trial."""
    stored = storage.list(f"{name}/blocks/{trial_id}/")
    parts = [Evaluation.from_json(storage.read_json(item.key)) for item in stored]
    return Evaluation(
        tuple({answer.question_id: answer for part in parts for answer in part.answers}.values()),
        _latest(score for part in parts for score in part.scores),
        _latest(score for part in parts for score in part.repeats),
    )


def _latest(scores: Iterable[Score]) -> tuple[Score, ...]:
    return tuple({(score.question_id, score.metric, score.repeat): score for score in scores}.values())


def delete_blocks(storage: Storage, name: str, trial_id: str) -> None:
    """Delete the blocks of a trial that has a complete result."""
    for item in storage.list(f"{name}/blocks/{trial_id}/"):
        storage.delete(item.key)


def save_stop_request(storage: Storage, name: str, trial_id: str) -> None:
    """Store the request to stop a trial."""
    storage.write_json(f"{name}/stop/{trial_id}.json", {"asked": datetime.now(UTC).isoformat(timespec="seconds")})


def stop_requests(storage: Storage, name: str) -> frozenset[str]:
    """The ids of the trials with a request to stop, whether or not they have stopped."""
    return frozenset(item.key.rpartition("/")[2].removesuffix(".json") for item in storage.list(f"{name}/stop/"))


def delete_stop_request(storage: Storage, name: str, trial_id: str) -> None:
    """Delete the request to stop a trial, if there is one."""
    if trial_id in stop_requests(storage, name):
        storage.delete(f"{name}/stop/{trial_id}.json")


def save_confirmation(storage: Storage, name: str, confirmation: Confirmation) -> None:
    """Write the confirmation of an experiment's choice."""
    storage.write_json(f"{name}/{CONFIRMATION}", confirmation.to_json())


def is_confirmed(storage: Storage, name: str) -> bool:
    """True if the confirmation of an experiment's choice is in storage."""
    return storage.exists(f"{name}/{CONFIRMATION}")


def held_out_part(name: str) -> str:
    """The name under which an experiment's results on its held-out questions are stored."""
    return f"{name}/held_out"


def load_held_out(storage: Storage, name: str, trials: Sequence[Trial]) -> tuple[TrialResult, ...]:
    """The results, complete or not, of the trials that have answered held-out questions, in the order of the trials."""
    results = load_results(storage, held_out_part(name), trials)
    return tuple(result for result in results if result.failure != NOT_FINISHED)


def save_usage(storage: Storage, name: str, usage: Iterable[UsageRow]) -> None:
    """Store the usage."""
    storage.write_json(f"{name}/{USAGE}", [row.to_json() for row in usage])


def load_usage(storage: Storage, name: str) -> tuple[UsageRow, ...]:
    """The usage of all runs so far; empty if none is stored."""
    rows = storage.read_json(f"{name}/{USAGE}") if storage.exists(f"{name}/{USAGE}") else []
    return tuple(map(UsageRow.from_json, rows))


def save_table(storage: Storage, experiment: ExperimentResult) -> None:
    """Write the table of all trials as CSV."""
    storage.write_csv(f"{experiment.name}/{TABLE}", results_table(experiment))


def experiment_exists(storage: Storage, name: str) -> bool:
    """True if an experiment of this name was started."""
    return storage.exists(f"{name}/{MANIFEST}")


def experiment_names(storage: Storage) -> list[str]:
    """The names of all experiments in storage, sorted."""
    suffix = f"/{MANIFEST}"
    return [item.key.removesuffix(suffix) for item in storage.list() if item.key.endswith(suffix)]


def new_name() -> str:
    """A new name for an experiment, with a random part, as two may start in the same second."""
    return f"{datetime.now(UTC):experiment-%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


def latest_experiment(settings: Settings) -> str:
    """The name of the experiment that was started last.

    Raises:
        DataError: if there is none yet.
    """
    storage = open_storage(settings.experiments_uri, settings)
    manifests = load_manifests(storage)
    if not manifests:
        raise DataError(f"no experiment at {storage.uri('')} yet: start one with `dream run`")
    return max(manifests, key=lambda name: started(manifests[name]))


def started(manifest: Manifest) -> datetime:
    """The start time of an experiment, for sorting; the earliest possible time if it is unknown."""
    return manifest.started or datetime.min.replace(tzinfo=UTC)


def load_results(storage: Storage, name: str, trials: Sequence[Trial]) -> list[TrialResult]:
    """The results of trials in their order; one that has none yet is recorded as failed."""
    written = {item.key for item in storage.list(f"{name}/trials/")}
    results = []
    for trial in trials:
        key = f"{name}/trials/{trial.id}.json"
        kept = TrialResult.from_json(storage.read_json(key)) if key in written else None
        results.append(kept or TrialResult(trial, failure=NOT_FINISHED))
    return results


def load_experiment(name: str, settings: Settings | None = None) -> ExperimentResult:
    """Read an experiment from storage; trials without a result yet are recorded as failed.

    Raises:
        DataError: if there is no experiment of this name, listing those there are.
    """
    settings = settings or Settings.from_environment()
    storage = open_storage(settings.experiments_uri, settings)
    manifest = find_manifest(storage, name)
    results, baselines = (
        tuple(load_results(storage, name, trials)) for trials in (manifest.trials, manifest.baselines)
    )
    held_out = load_held_out(storage, name, manifest.trials) if manifest.hold_out else ()
    return ExperimentResult(name, manifest, results, load_usage(storage, name), baselines, held_out)
