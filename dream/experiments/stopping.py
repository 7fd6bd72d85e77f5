"""Trials that are stopped by hand while the others go on.

What is to stop is written into the experiment's storage, which the process that runs the experiment looks at from time
to time. So it can be asked for from any terminal, notebook or machine that has the storage, whatever the engine.
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
# The beginning of the name of a baseline, as it is shown.
BASELINE = "baseline: "
MOST_LISTED = 12


def stop_trial(experiment: str, *trials: str, settings: Settings | None = None) -> dict[str, str]:
    """Stop trials of an experiment; the others go on.

    The process that runs the experiment ends them within seconds. What they have answered, and been scored on, stays in
    storage; their result says after how many questions they were stopped, and they are neither ranked nor recommended.
    Where the experiment does not run, they are stopped as soon as it is resumed. A resumed experiment leaves stopped
    trials as they are, unless it is told otherwise (`run_experiment(resume=..., restart=[...])`).

    Args:
        trials: each by its id, the beginning of it, or its name as it is shown.

    Returns:
        The names of the trials that will stop, by trial id.

    Raises:
        DataError: for an unknown experiment, listing those there are.
        ConfigurationError: for trials that are unknown, ambiguous or have ended, all at once; nothing is stopped then.

    Example:
        stop_trial("experiment-20260101-120000-3f2a", "a3f91c")
    """
    settings = settings or Settings.from_environment()
    storage = open_storage(settings.experiments_uri, settings)
    names, results = _trials_of(storage, experiment)
    found, problems = find_trials(trials, names)
    if not trials:
        problems = [f"no trial is named; there are:\n      {_listed(names, names)}"]
    if all(map(_has_ended, results.values())):
        problems = ["the experiment is finished, so that there is nothing to stop"]
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
    """The ids of the trials that texts name, and what is wrong with the others.

    Args:
        texts: each an id, the beginning of one or a name, whole or without its parameters.
        names: by trial id.
    """
    found, problems, is_unknown = dict[str, None](), list[str](), False
    for text in dict.fromkeys(texts):
        named = [each for each in names if text == each]
        named = named or [each for each, name in names.items() if text.removeprefix(BASELINE) == name]
        named = named or [each for each, name in names.items() if text == name.partition(" (")[0]]
        named = named or [each for each in names if text and each.startswith(text)]
        if len(named) == 1:
            found[named[0]] = None
        elif named:
            problems.append(f"{text!r} may be each of:\n      {_listed(named, names)}")
        else:
            problems.append(f"{text!r} is no trial")
            is_unknown = True
    if is_unknown:
        problems.append(f"the trials are:\n      {_listed(names, names)}")
    return list(found), problems


class StopRequests:
    """The trials of an experiment that are to stop, as they stand in storage; it is looked at every few seconds."""

    def __init__(self, storage: Storage, experiment: str) -> None:
        self._storage, self._experiment = storage, experiment
        self._known: frozenset[str] = frozenset()
        self._look_at = 0.0

    def trial_ids(self) -> frozenset[str]:
        """Their ids. Storage that cannot be reached is no error: it is looked at again."""
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
    """True if a trial has ended for good; one that has failed is asked again by a resumed experiment."""
    return result.failure is None or result.ended_early


def _end_of(result: TrialResult) -> str:
    return result.error if result.ended_early and result.error else "it is done already"


def _listed(some: Collection[str], names: Mapping[str, str]) -> str:
    shown = [f"{trial_id} {names[trial_id]}" for trial_id in list(some)[:MOST_LISTED]]
    more = [f"{len(some) - MOST_LISTED:,} more"] if len(some) > MOST_LISTED else []
    return "\n      ".join([*shown, *more])
