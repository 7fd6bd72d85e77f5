"""Stops trials on a user's request while the others continue.

A request is written to the experiment's storage, which the running process polls. So it can come from any terminal,
notebook or machine with access to the storage, on any engine.
"""

import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress

from dream.errors import ConfigurationError, StorageError, bullets
from dream.experiments import store
from dream.records import TrialResult, full_name, telling_parameters
from dream.settings import Settings
from dream.storage import Storage, open_storage

LOOK_SECONDS = 2.0
# The beginning of the displayed name of a baseline.
BASELINE = "baseline: "
MOST_LISTED = 12


def stop_trial(experiment: str, *trials: str, settings: Settings | None = None) -> dict[str, str]:
    """Stop trials of an experiment; the others continue.

    The process that runs the experiment ends them within seconds. Their answers and scores stay in storage, and their
    results state the number of finished questions, but they are neither ranked nor recommended. If the experiment is
    not running, they stop as soon as it is resumed. A resumed experiment does not continue stopped trials, unless they
    are named (`run_experiment(resume=..., restart=[...])`).

    Args:
        trials: each by its id, the beginning of the id, or its displayed name.

    Returns:
        The displayed names of the trials that will stop, by trial id.

    Raises:
        DataError: for an unknown experiment, listing the existing ones.
        ConfigurationError: for trials that are unknown, ambiguous or have ended, all at once; nothing is stopped then.

    Example:
        stop_trial("experiment-20260101-120000-3f2a", "a3f91c")
    """
    settings = settings or Settings.from_environment()
    storage = open_storage(settings.experiments_uri, settings)
    names, results = _trials_of(storage, experiment)
    found, problems = find_trials(trials, names)
    if not trials:
        problems = [f"no trial is named; the trials are:\n      {_listed(names, names)}"]
    if all(map(_has_ended, results.values())):
        problems = ["the experiment is finished, so there is nothing to stop"]
        found = []
    ended = [f"{_listed([each], names)}: {_end_of(results[each])}" for each in found if _has_ended(results[each])]
    problems = [*ended, *problems]
    if problems:
        raise ConfigurationError(bullets(f"nothing of {experiment!r} was stopped:", problems))
    for trial_id in found:
        store.save_stop_request(storage, experiment, trial_id)
    return {trial_id: names[trial_id] for trial_id in found}


def restart_trials(storage: Storage, experiment: str, trials: Sequence[str]) -> None:
    """Let a resumed experiment continue trials that were stopped by hand.

    Raises:
        ConfigurationError: for trials that are unknown, ambiguous or were not stopped, all at once.
    """
    names, results = _trials_of(storage, experiment)
    found, problems = find_trials(trials, names)
    asked = store.stop_requests(storage, experiment)
    kept = [each for each in found if not results[each].stopped_by_hand and each not in asked]
    problems = [*(f"{_listed([each], names)} was not stopped by hand: leave it out" for each in kept), *problems]
    if problems:
        raise ConfigurationError(bullets(f"{experiment!r} cannot be resumed with these restarts:", problems))
    for trial_id in found:
        store.delete_stop_request(storage, experiment, trial_id)
        if results[trial_id].stopped_by_hand:
            unfinished = TrialResult(results[trial_id].trial, failure=store.NOT_FINISHED)
            store.save_result(storage, experiment, unfinished)


def find_trials(texts: Iterable[str], names: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """The ids of the trials that `texts` name, and a message for each text that names none or several.

    Args:
        texts: each an id, the beginning of an id, or a name with or without its parameters.
        names: the displayed names by trial id.
    """
    ids, problems, is_unknown = dict[str, None](), list[str](), False
    for text in dict.fromkeys(texts):
        named = [each for each in names if text == each]
        named = named or [each for each, name in names.items() if text.removeprefix(BASELINE) == name]
        named = named or [each for each, name in names.items() if text == name.partition(" (")[0]]
        named = named or [each for each in names if text and each.startswith(text)]
        if len(named) == 1:
            ids[named[0]] = None
        elif named:
            problems.append(f"{text!r} is ambiguous:\n      {_listed(named, names)}")
        else:
            problems.append(f"{text!r} is not a trial")
            is_unknown = True
    if is_unknown:
        problems.append(f"the trials are:\n      {_listed(names, names)}")
    return list(ids), problems


class StopRequests:
    """The requests in storage to stop trials of an experiment; storage is read every few seconds."""

    def __init__(self, storage: Storage, experiment: str) -> None:
        self._storage, self._experiment = storage, experiment
        self._known: frozenset[str] = frozenset()
        self._look_at = 0.0

    def trial_ids(self) -> frozenset[str]:
        """The ids of these trials. If storage cannot be reached, the next call tries again."""
        now = time.monotonic()
        if now >= self._look_at:
            with suppress(StorageError):
                self._known |= store.stop_requests(self._storage, self._experiment)
            self._look_at = time.monotonic() + LOOK_SECONDS
        return self._known


def _trials_of(storage: Storage, experiment: str) -> tuple[dict[str, str], dict[str, TrialResult]]:
    """The names and the results of all trials and baselines, by trial id."""
    manifest = store.find_manifest(storage, experiment)
    trials = (*manifest.trials, *manifest.baselines)
    telling = telling_parameters(trials)
    names = {trial.id: full_name(trial, telling[trial.id]) for trial in trials}
    return names, {result.trial.id: result for result in store.load_results(storage, experiment, trials)}


def _has_ended(result: TrialResult) -> bool:
    """True if a trial has ended for good; a resumed experiment runs failed trials again."""
    return result.failure is None or result.ended_early


def _end_of(result: TrialResult) -> str:
    return result.error if result.ended_early and result.error else "it is already done"


def _listed(some: Collection[str], names: Mapping[str, str]) -> str:
    shown = [f"{trial_id} {names[trial_id]}" for trial_id in list(some)[:MOST_LISTED]]
    more = [f"{len(some) - MOST_LISTED:,} more"] if len(some) > MOST_LISTED else []
    return "\n      ".join([*shown, *more])
