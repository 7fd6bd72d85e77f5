"""The statistical power of the planned number of questions, estimated from an earlier experiment (a pilot)."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dream.errors import DreamError
from dream.experiments import store
from dream.experiments.store import load_experiment
from dream.records import ExperimentResult, GoldenDataset, Manifest
from dream.settings import Settings
from dream.storage import open_storage

if TYPE_CHECKING:
    from dream.comparison.power import Power

HOW_TO_GET_ONE = (
    "Power: unknown, because no experiment on these questions shows how much the differences between "
    "trials vary from question to question. Run a pilot of two or three trials (dream run --query-engine ... --name "
    "pilot), then plan again, or name a pilot on other questions: dream plan --pilot NAME."
)


@dataclass(frozen=True)
class PlannedPower:
    """The power of an experiment with trials like the pilot's; None if unknown, with the reason in `text`."""

    text: str
    pilot: str | None = None
    metric: str = ""
    power: "Power | None" = None


def planned_power(
    golden: GoldenDataset,
    pilot: str | None = None,
    settings: Settings | None = None,
    n_questions: int | None = None,
) -> PlannedPower:
    """The smallest difference that the questions of `golden` can detect, from the pilot's variance and level.

    Args:
        pilot: the name of an earlier experiment; by default the latest usable one on the same golden dataset.
        n_questions: the number of questions that are not held out (`Plan.n_questions`).

    Raises:
        DataError: if no experiment has the given name, or none of its trials can be ranked.
    """
    settings = settings or Settings.from_environment()
    n_questions = len(golden.questions) if n_questions is None else n_questions
    if pilot:
        return _from_pilot(load_experiment(pilot, settings), n_questions)
    for name in _experiments_on(golden, settings):
        try:
            planned = _from_pilot(load_experiment(name, settings), n_questions)
        except DreamError:  # one that stopped early, or that another version wrote
            continue
        if planned.power:
            return planned
    return PlannedPower(HOW_TO_GET_ONE)


def _experiments_on(golden: GoldenDataset, settings: Settings) -> list[str]:
    """The names of the experiments on a golden dataset, or on the part of it that they did not hold out, newest
    first."""
    storage = open_storage(settings.experiments_uri, settings)
    manifests = store.load_manifests(storage).values()
    same = [manifest for manifest in manifests if _whole_digest(manifest) == golden.digest]
    return [manifest.name for manifest in sorted(same, key=store.started, reverse=True)]


def _whole_digest(manifest: Manifest) -> str:
    return manifest.hold_out.whole_digest if manifest.hold_out else manifest.golden_dataset.digest


def _from_pilot(pilot: ExperimentResult, n_questions: int) -> PlannedPower:
    from dream.comparison.comparison import compare, default_metric  # scipy, which a run does not need

    metric = default_metric(pilot)
    comparison = compare(pilot, metric)
    if comparison.power is None:
        reason = "its ranked trials do not differ" if len(comparison.ranked) > 1 else "it has a single ranked trial"
        text = f"Power: the pilot {pilot.name!r} cannot be used, because {reason} on {metric}; name another one."
        return PlannedPower(text, pilot.name, metric)
    power = comparison.power.planned(n_questions)
    n_trials, n_asked = len(comparison.ranked), comparison.n_questions
    head = f"Power, from the {n_trials} trials and {n_asked} questions of the pilot {pilot.name!r}"
    return PlannedPower(f"{head}, on {metric}: {power.text}", pilot.name, metric, power)
