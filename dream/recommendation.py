"""From the set of trials that cannot be told apart from the best to one of them, with the reason in a sentence."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from dream.power import questions_needed
from dream.records import Trial
from dream.standings import Standing

# Where the recommended trial measured further below the best than this, the comparison says so.
_WORTH_A_WORD = 0.05


@dataclass(frozen=True)
class Recommendation:
    """The trial to use, why in one sentence, and what decided: "USD", "tokens", "latency" or "quality"."""

    trial: Trial
    reason: str
    decided_by: str


def recommend(standing: Sequence[Standing], metric: str, margin: float | None = None) -> Recommendation:
    """The cheapest, then fastest, trial of the set that cannot be told apart from the best.

    With a `margin`, only trials whose measured difference to the best is no larger than it.

    Cost is USD a question. Where it is not known of all, or equal, tokens of the answering LLM decide, then latency,
    then the mean.
    """
    together = [one for one in standing if one.in_set and (margin is None or _lag(one) <= margin)]
    best = together[0]
    measures = _measures(together)
    chosen = min(together, key=lambda one: (*(_rounded(measure[one.rank]) for measure in measures.values()), one.rank))
    decided = next(
        (name for name, measure in measures.items() if _rounded(measure[chosen.rank]) < _rounded(measure[best.rank])),
        "quality",
    )
    reason = _why_the_best(best, together, standing, metric) if chosen is best else _why(chosen, best, decided, metric)
    return Recommendation(chosen.trial, f"{in_code(chosen.trial)}: {reason}", decided)


def in_code(trial: Trial) -> str:
    """A trial's name with each part in backticks.

    Example:
        >>> in_code(Trial("chunks_with_overlap", "gpt-4o-mini", "text-embedding-3-small"))
        '`chunks_with_overlap` + `gpt-4o-mini` + `text-embedding-3-small`'
    """
    return " + ".join(
        f"`{part}`" for part in (trial.query_engine_identifier, trial.llm_identifier, trial.embed_model_identifier)
    )


def caution(chosen: Standing, level: float) -> str:
    """A warning where the recommended trial measured clearly below the best, which too few questions do not show."""
    one = chosen.difference
    if _lag(chosen) <= _WORTH_A_WORD or one is None or not one.error:
        return ""
    n = questions_needed(_lag(chosen), one.error * one.n**0.5, level)
    return (
        f"Weak evidence: the recommended trial measured {_lag(chosen):.3f} below the best, and may be {-one.low:.2f} "
        f"below; about {n:,} questions would show such a difference. Ask more, or set a margin (--margin 0.05)."
    )


def _lag(one: Standing) -> float:
    return -one.difference.mean if one.difference else 0.0


def _measures(together: Sequence[Standing]) -> dict[str, dict[int | None, float]]:
    """What can decide, in this order, by rank; a measure that is not known of all of them cannot."""
    found = {
        "USD": {one.rank: one.cost.usd for one in together},
        "tokens": {one.rank: one.cost.tokens for one in together},
        "latency": {one.rank: one.cost.seconds for one in together},
    }
    return {name: values for name, values in found.items() if None not in values.values()}  # pyright: ignore[reportReturnType]


def _rounded(value: float) -> float:
    """Five digits: costs that differ by less are equal."""
    return float(f"{value:.5g}")


def _why(chosen: Standing, best: Standing, decided: str, metric: str) -> str:
    return f"{_distance(chosen, metric)}, {_gain(chosen, best, decided)}"


def _distance(chosen: Standing, metric: str) -> str:
    difference = chosen.difference
    if chosen.same_scores:
        return f"the same {metric} as the best on every question"
    if difference is None or difference.low <= -1:
        return f"cannot be told apart from the best on {metric} (too few questions to tell anything)"
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


def _why_the_best(best: Standing, together: Sequence[Standing], standing: Sequence[Standing], metric: str) -> str:
    ranked = sum(one.rank is not None for one in standing)
    head = f"highest mean on {metric} ({best.mean:.3f})"
    if ranked == 1:
        return f"{head}, and the only trial that could be ranked"
    if sum(one.in_set for one in standing) == 1:
        return f"{head}, shown to be better than each of the other {ranked - 1} (95 % intervals)"
    if len(together) == 1:
        return f"{head}, and all others that cannot be told apart from it measured further below than the margin"
    return f"{head}, and none of the {len(together) - 1} that cannot be told apart from it is known to cost less"
