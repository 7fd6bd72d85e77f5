"""The race: trials that are shown to be worse stop before they have answered all questions.

    questions in one order -> a round: all trials answer up to a look -> those shown to be worse leave -> next round

A round is one run of the engine. So all trials are compared on the same questions, results do not depend on the engine,
and a killed race resumes at its last round. At the end of a round, trials wait for the slowest one; a scheduler of Ray
Tune would decide on whatever questions happen to be finished. Decisions are those of `dream.comparison.racing`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy

from dream.defaults import DEFAULT_METRIC, RACE_ERROR
from dream.engines import Engine, Message, TrialFinished, TrialRuns
from dream.errors import ConfigurationError, bullets
from dream.evaluation.evaluate import by_question
from dream.rag.baselines import metrics_of
from dream.records import (
    IN_ROUNDS,
    INCUMBENT,
    Evaluation,
    ExperimentResult,
    Failure,
    FailureKind,
    GoldenDataset,
    GoldenQuestion,
    LeftRace,
    Look,
    Manifest,
    Objective,
    Race,
    Search,
    Trial,
    TrialResult,
)

if TYPE_CHECKING:
    from dream.comparison.racing import Decision
    from dream.experiments.recorder import Recorder
    from dream.experiments.spec import PreparedExperiment
    from dream.experiments.trial import TrialContext

FIRST, BLOCK = 20, 20
# The total error of a comparison; the race must leave a part of it for the final comparison.
_MOST_ERROR = 0.05
_LOST = Failure(FailureKind.SERVICE, "the trial ended without reporting a result; its worker may have been killed")
RunTrial = Callable[..., TrialResult]


@dataclass(frozen=True)
class RaceOptions:
    """The options of a race.

    Args:
        first: the minimum number of questions before the first look.
        block: the minimum number of questions between two looks. More looks stop trials sooner, but at each look the
            trials wait for the slowest one.
        error: the maximum probability that one of the best trials leaves the race; the final comparison has the rest of
            5 %.
        seed: determines the order of the questions.
    """

    first: int = FIRST
    block: int = BLOCK
    error: float = RACE_ERROR
    seed: int = 0


def race_options(asked: Any) -> RaceOptions | None:
    """The options of a race: the defaults for True, or those of a mapping with fields of `RaceOptions`.

    Raises:
        ConfigurationError: naming every invalid option.
    """
    if asked is None or asked is False:
        return None
    if asked is True:
        return RaceOptions()
    valid = [each.name for each in fields(RaceOptions)]
    if not isinstance(asked, Mapping):
        raise ConfigurationError(f"race={asked!r}: give true, or some of {', '.join(valid)}")
    problems = [f"unknown key {name!r}; valid: {', '.join(valid)}" for name in asked if name not in valid]
    for name, least in (("first", 1), ("block", 1), ("seed", 0)):
        value = asked.get(name, least)
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            problems.append(f"{name}={value!r}: give a whole number of at least {least}")
    error = asked.get("error", RACE_ERROR)
    if isinstance(error, bool) or not isinstance(error, int | float) or not 0 < error < _MOST_ERROR:
        problems.append(f"error={error!r}: give a probability above 0 and below {_MOST_ERROR}, such as {RACE_ERROR}")
    if problems:
        raise ConfigurationError(bullets("race cannot be used:", problems))
    return RaceOptions(**asked)


def race_of(
    asked: Any, questions: Sequence[GoldenQuestion], metrics: Sequence[str], objective: Objective
) -> Race | None:
    """The race over these questions; None if none is requested.

    Raises:
        ConfigurationError: for invalid options, or if no look is possible before the last question.
    """
    if (options := race_options(asked)) is None:
        return None
    from dream.comparison.racing import planned_looks, shuffled  # scipy, which other runs do not need

    order = shuffled([question.document for question in questions], options.seed)
    ordered = [questions[row] for row in order]
    found = planned_looks([each.document for each in ordered], options.first, options.block, options.error)
    if not found:
        raise ConfigurationError(_no_look(questions, options))
    metric = objective.metric or (DEFAULT_METRIC if DEFAULT_METRIC in metrics else metrics[0])
    looks = tuple(Look(each.questions, each.documents, each.error) for each in found)
    ids = tuple(each.id for each in ordered)
    return Race(metric, options.first, options.block, options.error, options.seed, ids, looks)


def _no_look(questions: Sequence[GoldenQuestion], options: RaceOptions) -> str:
    n_documents = len({question.document or question.id for question in questions})
    return (
        f"race: {len(questions)} questions of {n_documents} document(s) allow no look before the last question. A look "
        f"comes at the end of a document, after at least {options.first} questions (first), with half a block (block: "
        f"{options.block}) still to come, and needs about 8 documents, because with fewer even the clearest difference "
        f"may be chance. Give questions of more documents, or a smaller first "
        "and block, or run without a race"
    )


def same_race(asked: Any, before: Race | None) -> bool:
    """True if the race of a resumed experiment is the requested one."""
    options = race_options(asked)
    if options is None or before is None:
        return options is before
    return options == RaceOptions(before.first, before.block, before.error, before.seed)


def check_with_search(asked: Any, search: Search) -> None:
    """Raise a ConfigurationError for a race of trials that are not yet chosen."""
    if race_options(asked) is not None and search.by in IN_ROUNDS:
        raise ConfigurationError(
            f"a race with a search by {search.by}, which chooses its next trials by means over all questions: leave "
            f"one of them out, or race a random sample (search={{'by': 'random', 'trials': 60}})"
        )


def race_announcement(race: Race | None, n_trials: int) -> list[str]:
    """Lines that announce a race: its looks, and the cost that it may save."""
    if race is None or race.was_run:
        return []
    n, first = len(race.order), race.looks[0]
    places = ", ".join(str(each.questions) for each in race.looks)
    most = (1 - first.questions / n) * max(n_trials - 1, 0) / max(n_trials, 1)
    return [
        f"race by {race.metric}: {len(race.looks)} look(s), after {places} of {n} questions; "
        "a trial that is shown to be worse than another leaves",
        f"the race saves between nothing (no trial is shown to be worse) and {most:.0%} of the trials' cost per "
        f"question (all but one leave at the first look), depending on the differences between the trials. Calls and "
        f"USD here are those without the race",
    ]


@dataclass
class Racing:
    """Runs the trials of an experiment in rounds, and decides after each.

    Args:
        run_trial: the function for a trial, which receives a context before the engine's arguments.
        partial_results: finished questions of earlier runs; `whole` holds results of trials that need not run, both by
            trial id.
        on_look: called with the race after each decision, before the next round.
    """

    name: str
    prepared: "PreparedExperiment"
    race: Race
    engine: Engine
    recorder: "Recorder"
    run_trial: RunTrial
    partial_results: Mapping[str, Evaluation]
    whole: Mapping[str, TrialResult]
    on_look: Callable[[Race], None]
    at_once: int | None = None
    _parts: dict[str, list[TrialResult]] = field(default_factory=dict)
    _ended: bool = False

    def run(self) -> None:
        """Run all rounds; every trial then has a result, unless a budget or an endpoint ended the experiment."""
        self._tell_left(self.race.left)
        done = 0
        for number, look in enumerate(self.race.looks):
            if look.is_done:
                continue
            self._round(self.race.order[done : look.questions], number + 1)
            if self._ended:
                return
            self._decide(number)
            done = look.questions
        self._round(self.race.order[done:], 0)
        for trial in self._running():
            self._take([TrialFinished(self._joined(trial))])

    def _running(self) -> list[Trial]:
        return [trial for trial in self.prepared.trials if not self.recorder.has_ended(trial.id)]

    # --- one round

    def _round(self, ids: Sequence[str], number: int) -> None:
        """Let the trials in the race answer these questions. In the last round (number 0), the baselines answer theirs
        too."""
        part = _of_questions(self.prepared.context, set(ids))
        due = [trial for trial in self._running() if not self._is_known(trial, part)]
        baselines = (
            [] if number else [trial for trial in self.prepared.baselines if not self.recorder.has_ended(trial.id)]
        )
        if trials := [*due, *baselines]:
            function = partial(_run_part, self.run_trial, self.prepared.context, part)
            name, n_questions = f"{self.name}-race-{number}", len(self.prepared.questions if baselines else ids)
            runs = TrialRuns(name, trials, function, n_questions, self.partial_results, self.at_once)
            lost = self.engine.run_trials(replace(runs, to_stop=self.recorder.to_stop), self._receive)
            for trial in trials:
                if not self.recorder.has_ended(trial.id) and not self._has_part(trial, ids):
                    self._take([TrialFinished(TrialResult(trial, failure=lost.get(trial.id, _LOST)))])

    def _is_known(self, trial: Trial, part: "TrialContext") -> bool:
        """True if an earlier run has answered and scored all of a trial's questions of a round, which are then
        reused."""
        known, metrics = self.partial_results.get(trial.id), metrics_of(trial, part.metrics)
        finished = (
            {evaluation.answers[0].question_id: evaluation for evaluation in by_question(known, metrics)}
            if known
            else {}
        )
        wanted = [finished.get(question.id) for question in part.golden_dataset.questions]
        if any(evaluation is None or part.repeats_of(trial).missing(evaluation, metrics) for evaluation in wanted):
            return False
        evaluation = _merged([evaluation for evaluation in wanted if evaluation is not None], self.race.order)
        self._parts.setdefault(trial.id, []).append(TrialResult(trial, evaluation))
        return True

    def _has_part(self, trial: Trial, ids: Sequence[str]) -> bool:
        """True if a trial has answered the questions of a round."""
        answered = {answer.question_id for part in self._parts.get(trial.id, []) for answer in part.answers}
        return answered.issuperset(ids)

    def _receive(self, messages: Sequence[Message]) -> None:
        """Pass messages on to the recorder, except for the results of a round, which are only parts of a trial's
        result."""
        handed_on: list[Message] = []
        for message in messages:
            if not isinstance(message, TrialFinished) or message.result.trial.is_baseline or message.result.failure:
                handed_on.append(message)
            elif not self._has_part(message.result.trial, [answer.question_id for answer in message.result.answers]):
                self._parts.setdefault(message.result.trial.id, []).append(message.result)
        self._take(handed_on)

    def _take(self, messages: Sequence[Message]) -> None:
        self.recorder.take(messages)
        for message in messages:
            if isinstance(message, TrialFinished) and message.result.was_stopped:
                self._ended = True

    def _joined(self, trial: Trial) -> TrialResult:
        """The result of a trial that has answered all questions, joined from its rounds."""
        parts = self._parts.get(trial.id, [])
        order = [question.id for question in self.prepared.questions]
        evaluation = _merged([part.evaluation for part in parts if part.evaluation], order)
        n_nodes = next((part.n_nodes for part in reversed(parts) if part.n_nodes is not None), None)
        return TrialResult(trial, evaluation, sum(part.seconds for part in parts), n_nodes)

    # --- a decision

    def _decide(self, number: int) -> None:
        look, before = self.race.looks[number], self.race.looks[:number]
        results = self._results(self.race.order[: look.questions])
        left, boundary = (), None
        if len(results) > 1:
            decision, results = self._decision(results, before, look)
            ids = [result.trial.id for result in results]
            left = tuple(
                LeftRace(ids[leaving.column], ids[leaving.best], leaving.difference, leaving.low, leaving.high)
                for leaving in decision.left
            )
            boundary = decision.boundary if numpy.isfinite(decision.boundary) else None
        decided = replace(look, boundary=boundary, is_done=True, left=left)
        self.race = replace(self.race, looks=(*before, decided, *self.race.looks[number + 1 :]))
        self.on_look(self.race)
        self._tell_left([each.trial_id for each in left])

    def _results(self, ids: Sequence[str]) -> list[TrialResult]:
        """The results on these questions of the trials in the race and of the trials that need not run."""
        wanted, results = set(ids), []
        for trial in self.prepared.trials:
            kept = self.whole.get(trial.id)
            if kept is not None and kept.evaluation is not None and kept.failure is None:
                results.append(replace(kept, evaluation=_only(kept.evaluation, wanted)))
            elif not self.recorder.has_ended(trial.id):
                evaluations = [part.evaluation for part in self._parts.get(trial.id, []) if part.evaluation]
                results.append(TrialResult(trial, _only(_merged(evaluations, ids), wanted)))
        return results

    def _decision(
        self, results: list[TrialResult], before: Sequence[Look], look: Look
    ) -> "tuple[Decision, Sequence[TrialResult]]":
        """The decision, and the results to which its column numbers refer."""
        from dream.comparison.racing import decide
        from dream.comparison.score_table import score_table

        asked = {question.id: question for question in self.prepared.questions}
        golden = GoldenDataset(tuple(asked[each] for each in self.race.order[: look.questions]))
        context = self.prepared.context
        manifest = Manifest("the race", golden, tuple(context.metrics), own_metrics=context.own_metrics)
        table = score_table(ExperimentResult("the race", manifest, tuple(results)), self.race.metric)
        rows = {each: row for row, each in enumerate(self.race.order)}
        places = numpy.array([rows[each] for each in table.question_ids])
        ends = [int((places < each.questions).sum()) for each in (*before, look)]
        boundaries = [numpy.inf if each.boundary is None else each.boundary for each in before]
        kept = [
            column
            for column, result in enumerate(table.results)
            if result.trial.id in self.whole or result.trial.parameters.get(INCUMBENT)
        ]
        decision = decide(
            table, ends, boundaries, look.error, self.race.error, kept, self.race.seed,
            entered=len(self.prepared.trials),
        )  # fmt: skip
        return decision, table.results

    def _tell_left(self, trial_ids: Sequence[str] | Mapping[str, Any]) -> None:
        """Record trials that have left the race."""
        trials = {trial.id: trial for trial in self.prepared.trials}
        messages = []
        for trial_id in trial_ids:
            if trial_id in trials and not self.recorder.has_ended(trial_id):
                comparator = self.recorder.progress.name_of(self.race.left[trial_id][1].comparator)
                reason = self.race.reason_of(trial_id, comparator)
                failure = Failure(FailureKind.LEFT_RACE, reason)
                messages.append(TrialFinished(TrialResult(trials[trial_id], failure=failure)))
        self._take(messages)


def _run_part(
    run_trial: RunTrial,
    whole: "TrialContext",
    part: "TrialContext",
    config: Mapping[str, Any],
    finished: Evaluation,
    on_block: Callable[[Evaluation], None],
) -> TrialResult:
    """The function that an engine runs for each trial of a round; a baseline answers all its questions."""
    return run_trial(whole if Trial.from_config(config).is_baseline else part, config, finished, on_block)


def _of_questions(context: "TrialContext", ids: set[str]) -> "TrialContext":
    """The context with only these questions."""
    golden, repeats = context.golden_dataset, context.repeats
    questions = tuple(question for question in golden.questions if question.id in ids)
    again = replace(repeats, question_ids=tuple(each for each in repeats.question_ids if each in ids))
    return replace(context, golden_dataset=GoldenDataset(questions, golden.uri), repeats=again)


def _merged(evaluations: Sequence[Evaluation], order: Sequence[str]) -> Evaluation:
    """Evaluations of different questions merged into one, in the order of the questions."""
    position = {question_id: number for number, question_id in enumerate(order)}

    def at(record: Any) -> int:
        return position.get(record.question_id, len(position))

    return Evaluation(
        tuple(sorted((record for each in evaluations for record in each.answers), key=at)),
        tuple(sorted((record for each in evaluations for record in each.scores), key=at)),
        tuple(sorted((record for each in evaluations for record in each.repeats), key=at)),
    )


def _only(evaluation: Evaluation, ids: set[str]) -> Evaluation:
    """The part of an evaluation on these questions."""
    return Evaluation(
        tuple(record for record in evaluation.answers if record.question_id in ids),
        tuple(record for record in evaluation.scores if record.question_id in ids),
    )
