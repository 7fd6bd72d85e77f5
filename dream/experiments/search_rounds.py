"""Searches in rounds: trials run, the search receives their results, and chooses the next trials (`dream.rag.search`).

The trials of a round are in the manifest before they run. A resumed search finishes them, and then makes the same
choices as an uninterrupted one: a round depends only on earlier results and on the seed.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from dream.defaults import FAILURE_SHARE
from dream.engines import Engine, TrialFinished, TrialRuns
from dream.errors import ConfigurationError, DreamError
from dream.indexes.client import current_indexes
from dream.rag.methods import index_request
from dream.rag.search import next_round
from dream.rag.told import Told
from dream.records import IN_ROUNDS, NSGA2, ExperimentResult, Search, Trial
from dream.settings import Settings

if TYPE_CHECKING:
    from dream.comparison.ranking import Standing
    from dream.experiments.recorder import Recorder


def check_with_sift(search: Search, sift: bool | str) -> None:
    """Raise a ConfigurationError for a sift of trials that are not yet chosen."""
    if sift and search.by in IN_ROUNDS:
        raise ConfigurationError(
            f"a sift with a search by {search.by}, which chooses its trials later: leave one of them out, or sift a "
            "sample (search={'by': 'random', 'trials': 60})"
        )


def as_json(value: Any) -> Any:
    """A value as it comes back from JSON."""
    return json.loads(json.dumps(value))


@dataclass(frozen=True)
class SearchRounds:
    """The remaining rounds of a search.

    Args:
        runs: the unfinished part of earlier rounds, with everything that later trials share.
    """

    recorder: "Recorder"
    engine: Engine
    settings: Settings
    runs: TrialRuns

    def run(self) -> None:
        """Run all rounds, until the search is complete, a budget or an endpoint ends it, or no trial can be ranked."""
        recorder = self.recorder
        with recorder.progress.start():
            self._run(self.runs.trials)
            while not recorder.so_far().reasons_to_stop:
                search, told = recorder.manifest.search, told_of(recorder.so_far())
                if told and not any(each.values for each in told):
                    recorder.say(f"the search ends: none of its {len(told)} trials can be ranked, see their failures")
                    return
                if not (trials := next_round(search, told)):
                    recorder.extend((), replace(search, is_done=True))
                    return
                recorder.say(f"round {len(search.rounds) + 1} of the search: {len(trials)} trials")
                self._run(self._not_taken_over(trials, search))

    def _not_taken_over(self, trials: Sequence[Trial], search: Search) -> list[Trial]:
        """Record a round; its trials that no earlier experiment has results of."""
        from dream.experiments.reuse import results_taken_over

        self.recorder.extend(trials, search.with_round(len(trials)))
        these = replace(self.recorder.prepared, trials=tuple(trials), baselines=())
        taken = results_taken_over(these, self.settings)
        self.recorder.add_usage([row for result in taken.values() for row in result.usage])
        self.recorder.take([TrialFinished(result) for result in taken.values()])
        return [trial for trial in trials if trial.id not in taken]

    def _run(self, trials: Sequence[Trial]) -> None:
        if not trials:
            return
        context = self.recorder.prepared.context
        requests = [index_request(trial, context.methods) for trial in trials if trial.embed_model_identifier]
        current_indexes().start(context.documents, requests)
        name = f"{self.runs.name}-round-{len(self.recorder.manifest.search.rounds)}"
        runs = replace(self.runs, name=name, trials=trials, to_stop=self.recorder.to_stop)
        self.recorder.lost(self.engine.run_trials(runs, self.recorder.take))


def told_of(experiment: ExperimentResult) -> list[Told]:
    """The results of an experiment's trials in the form that its search receives, in the order of the trials.

    A trial's quality is its mean on the comparison's metric: a question that the system failed counts 0, one that an
    outage failed is left out. A trial that the comparison would not rank has no values. NSGA-II also receives seconds,
    and USD per question if known for all trials.
    """
    standings = {each.trial.id: each for each in _standings(experiment)}
    ranked = [each for each in standings.values() if each.rank is not None]
    costs: list[str] = []
    if experiment.manifest.search.by == NSGA2:
        costs = [unit for unit in ("usd", "seconds") if all(getattr(each.cost, unit) is not None for each in ranked)]
    return [_told(result.trial, standings.get(result.trial.id), costs) for result in experiment.results]


def _told(trial: Trial, standing: "Standing | None", costs: Sequence[str]) -> Told:
    if standing is None or standing.rank is None or standing.mean is None:
        return Told(trial)
    return Told(trial, (standing.mean, *(-getattr(standing.cost, unit) for unit in costs)), standing.in_set)


def _standings(experiment: ExperimentResult) -> "Sequence[Standing]":
    from dream.comparison.comparison import default_metric
    from dream.comparison.ranking import standings
    from dream.comparison.score_table import score_table

    if not experiment.results:
        return ()
    try:
        metric = experiment.manifest.objective.metric or default_metric(experiment)
        return standings(score_table(experiment, metric), FAILURE_SHARE)[0]
    except DreamError:  # no score at all
        return ()
