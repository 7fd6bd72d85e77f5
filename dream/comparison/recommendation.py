"""From the set of trials that cannot be told apart from the best to one of them, with the reason.

Few questions leave many trials in that set, also some that measured far below the best. A margin, the loss that would
not matter, keeps these from being recommended for their price alone: the observed loss is the best estimate there is,
and too few questions to prove it is no reason to accept it. Where even the recommended trial may be further from the
best than the margin, the recommendation says so, and how many questions would show it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from dream.comparison.power import Power, questions_needed
from dream.comparison.ranking import Standing
from dream.defaults import MARGIN
from dream.records import Trial


@dataclass(frozen=True)
class Recommendation:
    """The trial to use, and why.

    `quality` compares it with the best; `advantage` is what it gains over the best, empty where it is the best itself.
    `decided_by` is "USD", "tokens", "latency" or "quality". `doubt` says that the questions cannot tell whether it is
    within `margin` of the best, and how many could; it is empty where they can.
    """

    trial: Trial
    quality: str
    advantage: str
    decided_by: str
    margin: float = MARGIN
    doubt: str = ""

    @property
    def why(self) -> str:
        """The reason without the trial's name."""
        return f"{self.quality}, {self.advantage}" if self.advantage else self.quality

    @property
    def reason(self) -> str:
        """The trial and why, in one sentence."""
        return f"{in_code(self.trial)}: {self.why}"


def recommend(
    standing: Sequence[Standing],
    metric: str,
    margin: float = MARGIN,
    power: Power | None = None,
    n_clusters: int | None = None,
) -> Recommendation:
    """The cheapest, then fastest, of the trials that cannot be told apart from the best and measured within `margin`.

    Cost is USD a question. Where it is not known of all, or equal, tokens of the answering LLM decide, then latency,
    then the mean. `power` and `n_clusters`, the number of documents, are for the sentence about doubt.
    """
    candidates = [one for one in standing if one.in_set and _lag(one) <= margin + 1e-12]
    best = candidates[0]
    measures = _tie_breakers(candidates)
    chosen = min(
        candidates, key=lambda one: (*(_rounded(measure[one.rank]) for measure in measures.values()), one.rank)
    )
    decided = next(
        (name for name, measure in measures.items() if _rounded(measure[chosen.rank]) < _rounded(measure[best.rank])),
        "quality",
    )
    doubt = _doubt(chosen, standing, margin, power, n_clusters)
    if chosen is best:
        quality, advantage = _why_the_best(candidates, standing, metric, margin), ""
    else:
        quality, advantage = _distance(chosen, metric, bool(doubt)), _gain(chosen, best, decided)
    return Recommendation(chosen.trial, quality, advantage, decided, margin, doubt)


def in_code(trial: Trial) -> str:
    """A trial's name with each part in backticks.

    Example:
        >>> in_code(Trial("chunks_with_overlap", "gpt-4o-mini", "text-embedding-3-small"))
        '`chunks_with_overlap` + `gpt-4o-mini` + `text-embedding-3-small`'
    """
    return " + ".join(
        f"`{part}`" for part in (trial.query_engine_identifier, trial.llm_identifier, trial.embed_model_identifier)
    )


def _doubt(
    chosen: Standing, standing: Sequence[Standing], margin: float, power: Power | None, n_clusters: int | None
) -> str:
    """The doubt that the questions leave about the recommended trial, and its remedy; empty within the margin."""
    may_lose = _may_lose(chosen, standing)
    if may_lose <= margin or chosen.same_scores:
        return ""
    n, worst = chosen.n_questions, math.ceil(may_lose * 100 - 1e-9) / 100
    if chosen.difference:
        lag = f"measured {max(_lag(chosen), 0.0):.3f} below the highest mean, and may be up to {worst:.2f} below it"
    else:
        lag = f"has the highest mean, and yet another may be up to {worst:.2f} better"
    return (
        f"{n} question{'s' * (n != 1)} cannot tell which trial is best: the recommended one {lag}, where {margin:.2f} "
        f"would matter. {_remedy(margin, power, n, n_clusters)}"
    )


def _may_lose(chosen: Standing, standing: Sequence[Standing]) -> float:
    """The largest loss that the intervals allow: against the best, or, if it is the best, against those of the set."""
    if chosen.difference:
        return -chosen.difference.low
    return max((one.difference.high for one in standing if one.in_set and one.difference), default=0.0)


def _remedy(margin: float, power: Power | None, n_questions: int, n_clusters: int | None) -> str:
    n = questions_needed(margin, power.spread, power.level) if power and margin else 0
    if n <= n_questions:
        return "Ask more questions; 50 are a beginning." if n_questions < 50 else "Ask more questions."
    documents = ""
    if n_clusters and n_clusters < n_questions:
        documents = f" from about {math.ceil(n * n_clusters / n_questions):,} documents"
    return f"About {n:,} questions{documents} would show a difference of {margin:.2f}."


def _lag(standing: Standing) -> float:
    return -standing.difference.mean if standing.difference else 0.0


def _tie_breakers(candidates: Sequence[Standing]) -> dict[str, dict[int | None, float]]:
    """Tie-breakers in order of precedence, by rank; one that is unknown for any candidate is skipped."""
    measures = {
        "USD": {one.rank: one.cost.usd for one in candidates},
        "tokens": {one.rank: one.cost.tokens for one in candidates},
        "latency": {one.rank: one.cost.seconds for one in candidates},
    }
    return {name: values for name, values in measures.items() if None not in values.values()}  # pyright: ignore[reportReturnType]


def _rounded(value: float) -> float:
    """Five digits: costs that differ by less are equal."""
    return float(f"{value:.5g}")


def _distance(chosen: Standing, metric: str, doubtful: bool) -> str:
    difference = chosen.difference
    if chosen.same_scores or difference is None:
        return f"the same {metric} as the best on every question"
    if doubtful:
        return f"measured {max(_lag(chosen), 0.0):.3f} below the best on {metric}, and cannot be told apart from it"
    margin = max(math.ceil(-difference.low * 100 - 1e-9) / 100, 0.01)
    return f"within {margin:.2f} of the best on {metric} (95 % interval)"


def _gain(chosen: Standing, best: Standing, decided: str) -> str:
    unknown = chosen.cost.usd is None or best.cost.usd is None
    prices = "prices are not known" if unknown else "the price is the same"
    if decided == "USD":
        return _times(best.cost.usd, chosen.cost.usd, "cheaper", "free of charge")
    if decided == "tokens":
        return f"{_times(best.cost.tokens, chosen.cost.tokens, 'fewer tokens', 'no tokens')} ({prices})"
    if decided == "latency":
        return f"{_times(best.cost.seconds, chosen.cost.seconds, 'faster', 'no delay')} ({prices})"
    return "no trial of the set is cheaper or faster"


def _times(before: float | None, after: float | None, word: str, nothing: str) -> str:
    if not after:
        return nothing
    ratio = (before or 0.0) / after
    return f"{ratio:.1f} times {word}" if ratio >= 1.1 else f"{ratio - 1:.1%} {word}"


def _why_the_best(candidates: Sequence[Standing], standing: Sequence[Standing], metric: str, margin: float) -> str:
    best, n_tied = candidates[0], sum(one.in_set for one in standing)
    ranked = sum(one.rank is not None for one in standing)
    head = f"highest mean on {metric} ({best.mean:.3f})"
    if ranked == 1:
        return f"{head}, and the only trial that could be ranked"
    if n_tied == 1:
        return f"{head}, shown to be better than each of the other {ranked - 1} (95 % intervals)"
    if len(candidates) == 1:
        return f"{head}; those that cannot be told apart from it measured more than {margin:.2f} below"
    within = "" if len(candidates) == n_tied else f" and measured within {margin:.2f}"
    return (
        f"{head}, and none of the {len(candidates) - 1} that cannot be told apart from it{within} is known to cost less"
    )
