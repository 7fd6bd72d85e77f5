"""Rubrics and aspects, described as mappings in a study file or in Python.

{name: tone, levels: [It is rude., It is neutral., It is friendly.]}
{name: safe, aspect: "Is the response free of advice that could hurt somebody?"}
"""

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from dream.errors import ConfigurationError, bullets
from dream.metrics.definition import Metric
from dream.metrics.own import aspect_critic, level_problems, name_problems, rubric

# The keys of a description, with either `levels` or `aspect`.
DESCRIPTION_KEYS = ("name", "levels", "aspect", "question", "low_value")
_TEXTS = ("name", "aspect", "question", "low_value")


def described_metric(given: Mapping[str, Any]) -> Metric:
    """Register a metric that is described by a mapping.

    Args:
        given: the keys `name`; either `levels`, two to five descriptions from the worst to the best (a list, or
            numbered: {1: ..., 2: ...}), of which the judge chooses one (`dream.metrics.rubric`), or `aspect`, a yes/no
            question (`dream.metrics.aspect_critic`); and, for the report, `question` and `low_value`.

    Raises:
        ConfigurationError: naming every mistake.

    Example:
        >>> tone = described_metric({"name": "tone", "levels": {1: "It is rude.", 2: "It is friendly."}})
        >>> tone.name, tone.bounds, tone.judge_calls
        ('tone', (1.0, 2.0), 1)
    """
    if problems := [message for _, message in description_problems(given)]:
        raise ConfigurationError(bullets(f"the metric {given.get('name', '')!r} cannot be used:", problems))
    name, low_value = given["name"], given.get("low_value") or ""
    if given.get("aspect"):
        return aspect_critic(name, given["aspect"], low_value=low_value)
    return rubric(name, _levels(given["levels"]), question=given.get("question") or "", low_value=low_value)


def description_problems(given: Mapping[str, Any]) -> list[tuple[str, str]]:
    """All mistakes in a description, each with its key ("" for a missing key)."""
    problems = [(str(key), _unknown(str(key))) for key in given if key not in DESCRIPTION_KEYS]
    texts = {key: given[key] for key in _TEXTS if given.get(key) is not None}
    wrong = [key for key, value in texts.items() if not isinstance(value, str) or not value.strip()]
    problems += [(key, f"{key}={given[key]!r}: give a text") for key in wrong]
    if "name" not in texts:
        problems.append(("", f"a metric needs a name: {dict(given)!r}"))
    elif "name" not in wrong:
        problems += [("name", message) for message in name_problems(texts["name"])]
    kinds = [key for key in ("levels", "aspect") if given.get(key) is not None]
    if len(kinds) != 1:
        told = "both are given" if kinds else "neither is given"
        problems.append(("", f"give levels: (two to five descriptions) or aspect: (a question); {told}"))
    if "levels" in kinds:
        problems += [("levels", message) for message in _problems_of_levels(given["levels"])]
    elif texts.get("question"):
        problems.append(("question", "an aspect is the question itself: leave question out"))
    return problems


def _problems_of_levels(levels: Any) -> list[str]:
    if isinstance(levels, Mapping):
        numbers = list(levels)
        if not numbers or {str(number) for number in numbers} != {str(n) for n in range(1, len(numbers) + 1)}:
            return [f"levels={dict(levels)!r}: number them 1 (the worst), 2, ... without gaps"]
        return level_problems(_levels(levels))
    return level_problems(levels) if isinstance(levels, list | tuple) else [
        f"levels={levels!r}: write a list of two to five descriptions, the worst first, or 1: ..., 2: ... under it"
    ]  # fmt: skip


def _levels(levels: Any) -> list[Any]:
    """The descriptions from the worst to the best."""
    if isinstance(levels, Mapping):
        return [text for _, text in sorted(levels.items(), key=lambda item: int(item[0]))]
    return list(levels)


def _unknown(key: str) -> str:
    alike = get_close_matches(key, DESCRIPTION_KEYS, 1)
    return f"there is no {key!r} here; " + (
        f"did you mean {alike[0]}?" if alike else f"valid: {', '.join(DESCRIPTION_KEYS)}"
    )
