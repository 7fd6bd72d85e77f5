"""The table of a running experiment: one row per trial, or the running and the best trials if there are many."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from dream.experiments.mean_so_far import MeanSoFar
from dream.progress.live_table import Column, LiveTable, Row
from dream.records import known_sum

BEST_SHOWN = 3
UNKNOWN = "unknown"


class TrialState(StrEnum):
    """The state of a trial in words. `NOT_FINISHED`: the budget was spent, or an endpoint refuses all requests."""

    WAITING = "waiting"
    RUNNING = "running"
    STOPPING = "stopping"
    DONE = "done"
    FAILED = "failed"
    STOPPED = "stopped"
    LEFT_RACE = "left the race"
    NOT_FINISHED = "not finished"

    @property
    def has_ended(self) -> bool:
        """True if the trial will report nothing more."""
        return self not in (TrialState.WAITING, TrialState.RUNNING, TrialState.STOPPING)


_LOOKS = {TrialState.NOT_FINISHED: "failed", TrialState.STOPPING: "stopped", TrialState.LEFT_RACE: "stopped"}


@dataclass(frozen=True)
class TrialNow:
    """The current state of one trial.

    Attributes:
        why: the reason of a failure in one line.
        questions: the number of finished questions; `planned` is the number of all.
        usd: paid so far; `usd_planned` for the whole trial; both None if unknown.
    """

    id: str
    name: str
    state: TrialState
    questions: int
    planned: int
    mean: MeanSoFar | None = None
    usd: float | None = 0.0
    usd_planned: float | None = None
    why: str = ""

    @property
    def usd_to_come(self) -> float | None:
        """The further cost of the trial: planned minus paid, 0 for one that has ended, None if unknown."""
        if self.state.has_ended:
            return 0.0
        if self.usd is None or self.usd_planned is None:
            return None
        return max(self.usd_planned - self.usd, 0.0)


@dataclass(frozen=True)
class Trials:
    """The current state of all trials.

    Attributes:
        metric: the metric of the means; `lower_is_better` says whether low means are the best.
        usd: paid for all trials, including indexes.
        usd_to_come_for_all: the planned cost of shared work such as indexes that is not yet paid; None if unknown.
    """

    trials: Sequence[TrialNow]
    metric: str
    lower_is_better: bool = False
    usd: float | None = 0.0
    usd_to_come_for_all: float | None = 0.0
    _id_length: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_id_length", unique_length([trial.id for trial in self.trials]))

    def table(self, most: int) -> LiveTable:
        """The table with at most `most` rows: in the order of the grid if all fit, else the most informative first."""
        chosen = list(self.trials) if len(self.trials) <= most else self._telling(most)
        shows_usd = any(trial.usd is not None or trial.usd_planned is not None for trial in self.trials)
        shows_limits = any(trial.mean and trial.mean.low is not None for trial in chosen)
        columns = [Column("id", False), Column("state", False), Column("questions"), Column("mean")]
        columns += [Column("95 % interval")] if shows_limits else []
        columns += [Column("USD"), Column("to come")] if shows_usd else []
        rows = tuple(self._row(trial, shows_limits, shows_usd) for trial in chosen)
        left_out = [trial for trial in self.trials if trial not in chosen]
        more = [f"... and {len(left_out):,} more: {_counts(left_out)}"] if left_out else []
        longest = max((trial.name for trial in self.trials), key=len, default="")
        return LiveTable("trial", tuple(columns), rows, (*more, *self._below(shows_limits)), longest)

    def _telling(self, most: int) -> list[TrialNow]:
        """Running trials and the best finished ones, then failed and stopped ones."""
        sign = 1 if self.lower_is_better else -1
        done = [trial for trial in self.trials if trial.state == TrialState.DONE and trial.mean]
        best = sorted(done, key=lambda trial: sign * trial.mean.mean if trial.mean else 0.0)
        running = [trial for trial in self.trials if trial.state in (TrialState.RUNNING, TrialState.STOPPING)]
        kept = min(BEST_SHOWN, len(best), max(most - 1, 0))
        others = [trial for trial in self.trials if trial.state.has_ended and trial.state != TrialState.DONE]
        in_order = [*running[: max(most - kept, 0)], *best[:kept], *others, *best[kept:]]
        return in_order[:most]

    def _row(self, trial: TrialNow, shows_limits: bool, shows_usd: bool) -> Row:
        state = trial.state
        # for a trial that ended early, the mean would cover selected questions only
        mean = None if state.has_ended and state != TrialState.DONE else trial.mean
        cells = [trial.id[: self._id_length], state.value, f"{trial.questions:,}/{trial.planned:,}"]
        cells.append(f"{mean.mean:.3f}" if mean else "")
        if shows_limits:
            has_interval = mean and mean.low is not None
            cells.append(f"{mean.low:.2f} to {mean.high:.2f}" if mean and has_interval else "")
        if shows_usd:
            cells += [usd_text(trial.usd), "" if state.has_ended else usd_text(trial.usd_to_come)]
        return Row(trial.name, tuple(cells), _LOOKS.get(state, state.value), trial.why)

    def _below(self, shows_limits: bool) -> list[str]:
        to_come = known_sum([self.usd_to_come_for_all, *(trial.usd_to_come for trial in self.trials)])
        paid = f"USD {UNKNOWN}" if self.usd is None else f"{usd_text(self.usd)} USD"
        lines = [f"{_counts(self.trials)}; {paid} so far, {usd_text(to_come)} to come"]
        limits = "; intervals are valid at every look, but not for comparing trials" if shows_limits else ""
        return [*lines, f"mean: {self.metric}{limits}"]


def usd_text(usd: float | None) -> str:
    """An amount for a narrow column.

    Example:
        >>> [usd_text(usd) for usd in (None, 0.0, 0.004, 1234.5)]
        ['unknown', '0.00', '<0.01', '1,234.50']
    """
    if usd is None:
        return UNKNOWN
    return "<0.01" if 0 < usd < 0.01 else f"{usd:,.2f}"


def unique_length(ids: Sequence[str], least: int = 6) -> int:
    """The number of characters, at least `least`, by which the ids can be distinguished.

    Example:
        >>> unique_length(["a3f0", "a3e1"], least=1)
        3
    """
    longest = max(map(len, ids), default=0)
    return next((n for n in range(least, longest) if len({each[:n] for each in ids}) == len(set(ids))), longest)


def _counts(trials: Sequence[TrialNow]) -> str:
    counted = Counter(trial.state for trial in trials)
    return ", ".join(f"{counted[state]:,} {state.value}" for state in TrialState if counted[state]) or "no trials"
