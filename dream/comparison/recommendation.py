"""The recommendation: one trial of the tie set, with the reason.

The tie set (the set of the best) contains the best trial and all trials that are not shown to be worse. With few
questions, it also contains trials whose mean is far below the best. The margin, the largest acceptable loss, keeps
these from being recommended for their price alone: the measured loss is the best estimate of the true loss, even if it
is not significant. If the intervals against any trial of the set allow a loss above the margin, the recommendation
states this doubt and the number of questions that would resolve it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from dream.comparison.intervals import CONFIDENCE
from dream.comparison.power import Power
from dream.comparison.ranking import Standing
from dream.defaults import MARGIN
from dream.records import Trial


@dataclass(frozen=True)
class Recommendation:
    """The trial to use, and why.

    `quality` compares it with the best trial; `advantage` is its gain over the best, empty if it is the best itself.
    `decided_by` is "USD", "tokens", "latency" or "quality". `doubt` is a sentence if the loss against the best may
    exceed `margin`, with the number of questions that would resolve it; otherwise it is empty. `parameters` are those
    of the standing.
    """

    trial: Trial
    quality: str
    advantage: str
    decided_by: str
    margin: float = MARGIN
    doubt: str = ""
    parameters: str = ""

    @property
    def why(self) -> str:
        """The reason without the trial's name."""
        return f"{self.quality}, {self.advantage}" if self.advantage else self.quality

    @property
    def reason(self) -> str:
        """The trial and the reason, in one sentence."""
        return f"{in_code(self.trial, self.parameters)}: {self.why}"


def recommend(
    standings: Sequence[Standing],
    metric: str,
    margin: float = MARGIN,
    power: Power | None = None,
    n_clusters: int | None = None,
    confidence: float = CONFIDENCE,
) -> Recommendation:
    """Recommend the cheapest, then fastest, trial of the tie set whose measured loss is at most `margin`.

    Cost is in USD per question. If it is equal, or unknown for any candidate, the tokens per question of the answering
    LLM decide, then the latency, then the mean.

    Args:
        standings: the standings of all trials, the best first.
        power, n_clusters: the power of the experiment and its number of source documents, for the wording of the doubt.
        confidence: the confidence level of the standings' intervals.
    """
    candidates = [standing for standing in standings if standing.in_set and _lag(standing) <= margin + 1e-12]
    best = candidates[0]
    measures = _tie_breakers(candidates)
    chosen = min(
        candidates,
        key=lambda standing: (*(_rounded(measure[standing.rank]) for measure in measures.values()), standing.rank),
    )
    decided = next(
        (name for name, measure in measures.items() if _rounded(measure[chosen.rank]) < _rounded(measure[best.rank])),
        "quality",
    )
    doubt = _doubt(chosen, margin, power, n_clusters)
    if chosen is best:
        quality, advantage = _why_the_best(candidates, standings, metric, margin, confidence), ""
    else:
        quality, advantage = _distance(chosen, metric, bool(doubt), confidence), _gain(chosen, best, decided)
    return Recommendation(chosen.trial, quality, advantage, decided, margin, doubt, chosen.parameters)


def in_code(trial: Trial, parameters: str = "") -> str:
    """A trial's name with each part in backticks, and the parameters that distinguish it from others of the same name.

    Example:
        >>> in_code(Trial("chunks_with_overlap", "gpt-4o-mini", "text-embedding-3-small"))
        '`chunks_with_overlap` + `gpt-4o-mini` + `text-embedding-3-small`'
    """
    parts = (trial.query_engine_identifier, trial.llm_identifier, trial.embed_model_identifier)
    return " + ".join(f"`{part}`" for part in parts if part) + (f" ({parameters})" if parameters else "")


def _doubt(chosen: Standing, margin: float, power: Power | None, n_clusters: int | None) -> str:
    """The doubt about the recommended trial and its remedy; empty if the possible loss is within the margin."""
    if chosen.may_lose is None or chosen.may_lose <= margin or chosen.same_scores:
        return ""
    n, worst = chosen.n_questions, math.ceil(chosen.may_lose * 100 - 1e-9) / 100
    if chosen.difference:
        lag = f"has a mean {max(_lag(chosen), 0.0):.3f} below the highest, and may be up to {worst:.2f} worse"
    else:
        lag = f"has the highest mean, but another may be up to {worst:.2f} better"
    return (
        f"{n} question{'s' * (n != 1)} cannot tell which trial is best: the recommended trial {lag}; the margin is "
        f"{margin:.2f}. {_remedy(margin, power, n, n_clusters)}"
    )


def _remedy(margin: float, power: Power | None, n_questions: int, n_clusters: int | None) -> str:
    n = power.needed_for(margin) if power and margin else 0
    if n <= n_questions:
        return "Use more questions, at least 50." if n_questions < 50 else "Use more questions."
    documents = ""
    if n_clusters and n_clusters < n_questions:
        documents = f" from about {math.ceil(n * n_clusters / n_questions):,} documents"
    return f"About {n:,} questions{documents} would detect a difference of {margin:.2f}."


def _lag(standing: Standing) -> float:
    return -standing.difference.mean if standing.difference else 0.0


def _tie_breakers(candidates: Sequence[Standing]) -> dict[str, dict[int | None, float]]:
    """Tie-breakers in order of precedence, by rank; a measure that is unknown for any candidate is skipped."""
    measures = {
        "USD": {standing.rank: standing.cost.usd for standing in candidates},
        "tokens": {standing.rank: standing.cost.tokens for standing in candidates},
        "latency": {standing.rank: standing.cost.seconds for standing in candidates},
    }
    return {name: values for name, values in measures.items() if None not in values.values()}  # pyright: ignore[reportReturnType]


def _rounded(value: float) -> float:
    """Five digits: costs that differ by less are equal."""
    return float(f"{value:.5g}")


def _distance(chosen: Standing, metric: str, doubtful: bool, confidence: float) -> str:
    difference = chosen.difference
    if chosen.same_scores or difference is None:
        return f"the same {metric} as the best on every question"
    if doubtful:
        lag = f"{max(_lag(chosen), 0.0):.3f}"
        return f"mean {metric} {lag} below the best, statistically indistinguishable from it"
    margin = max(math.ceil(-difference.low * 100 - 1e-9) / 100, 0.01)
    return f"within {margin:.2f} of the best on {metric} ({100 * confidence:g} % interval)"


def _gain(chosen: Standing, best: Standing, decided: str) -> str:
    unknown = chosen.cost.usd is None or best.cost.usd is None
    prices = "prices are unknown" if unknown else "the price is the same"
    if decided == "USD":
        return _times(best.cost.usd, chosen.cost.usd, "cheaper", "free of charge")
    if decided == "tokens":
        return f"{_times(best.cost.tokens, chosen.cost.tokens, 'fewer tokens per question', 'no tokens')} ({prices})"
    if decided == "latency":
        return f"{_times(best.cost.seconds, chosen.cost.seconds, 'faster', 'no delay')} ({prices})"
    return "no trial of the tie set is cheaper or faster"


def _times(before: float | None, after: float | None, word: str, nothing: str) -> str:
    if not after:
        return nothing
    ratio = (before or 0.0) / after
    return f"{ratio:.1f} times {word}" if ratio >= 1.1 else f"{ratio - 1:.1%} {word}"


def _why_the_best(
    candidates: Sequence[Standing], standings: Sequence[Standing], metric: str, margin: float, confidence: float
) -> str:
    best, n_tied = candidates[0], sum(standing.in_set for standing in standings)
    ranked = sum(standing.rank is not None for standing in standings)
    head = f"highest mean on {metric} ({best.mean:.3f})"
    if ranked == 1:
        return f"{head}, and the only trial that could be ranked"
    if n_tied == 1:
        intervals = f"{100 * confidence:g} % confidence intervals"
        return f"{head}, significantly better than each of the other {ranked - 1} ({intervals})"
    if len(candidates) == 1:
        return f"{head}; the trials indistinguishable from it have means more than {margin:.2f} lower"
    within = "" if len(candidates) == n_tied else f" within {margin:.2f}"
    if len(candidates) == 2:
        return f"{head}; the one trial indistinguishable from it{within} is not known to cost less"
    return f"{head}; none of the {len(candidates) - 1} trials indistinguishable from it{within} is known to cost less"
