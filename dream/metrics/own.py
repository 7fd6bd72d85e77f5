"""User-defined metrics: a function (`@metric`), a rubric, or a yes/no criterion."""

import hashlib
import inspect
import json
import re
import textwrap
from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from typing import Any, TypeVar

from dream.errors import ConfigurationError, bullets
from dream.metrics.built_in import DEFINITIONS
from dream.metrics.definition import Metric
from dream.metrics.registry import register
from dream.runtime.by_value import ByValue

Function = TypeVar("Function", bound=Callable[..., Any])
# The possible parameters of a function, with their names in ragas.
INPUTS: Mapping[str, str] = {
    "question": "user_input",
    "answer": "response",
    "contexts": "retrieved_contexts",
    "ground_truth": "reference",
    "evidence": "evidence",
}
JUDGE = "judge"
# Names of columns in tables of results, which a metric must not have.
_TAKEN = frozenset(
    {
        *INPUTS, "question_id", "trial_id", "error", "context_sources", "context_tokens", "latency_seconds", "usd",
        "retrieval_seconds", "prompt_tokens", "completion_tokens", "thinking", "is_cut", "tokens_are_estimated",
        "tokens", "estimated_tokens", "n_questions", "n_unanswered", "n_cut", "passages", "model_calls", "nodes",
        "seconds", "query_engine_identifier", "llm_identifier", "embed_model_identifier",
    }
)  # fmt: skip


class NotApplicable(Exception):
    """Raise this in a metric's function for a question to which the metric does not apply. The decision may depend only
    on the question and the ground truth, so that all trials are scored on the same questions."""


def metric(
    question: str,
    *,
    meaning: str = "",
    low_value: str = "",
    bounds: tuple[float, float] = (0.0, 1.0),
    judge_calls: int = 0,
    judge_calls_a_passage: int = 0,
    name: str = "",
) -> Callable[[Function], Function]:
    """Register the decorated function as a metric; its name becomes a valid name in `metrics=`.

    The function may have the parameters `question`, `answer`, `ground_truth` (texts), `contexts` (the texts of the
    passages in the order of the prompt), `evidence` (see `dream.evaluation.evidence.Covered`: each location of the
    ground truth with the ranks of the passages that cover it), and `judge`, whose `await judge.ask(prompt, Form)`
    returns the judge LLM's answer as an instance of the pydantic model `Form`. It returns a number, or a number and a
    reason, and may be `async`. An exception, NaN or a number outside of `bounds` is recorded as the error of that
    score.

    Args:
        question: the question that the metric answers, for the report.
        meaning: the computation of the value, by default the first paragraph of the docstring.
        low_value: possible causes of a low value.
        bounds: the worst and the best value that the function returns. Scores are stored on a scale from 0 to 1, so
            that margins and intervals are comparable between metrics.
        judge_calls, judge_calls_a_passage: calls of the judge LLM per answer, and per passage, for the plan.

    Raises:
        ConfigurationError: naming every mistake.

    Example:
        >>> @metric("Is the answer short?", meaning="1 up to 50 words, falling to 0 at 100")
        ... def brevity(answer):
        ...     return max(0.0, min(1.0, 2 - len(answer.split()) / 50))
    """

    def decorate(function: Function) -> Function:
        called = name or function.__name__
        parameters = list(inspect.signature(function).parameters)
        calls = (judge_calls, judge_calls_a_passage)
        problems = [
            *name_problems(called),
            *_bounds_problems(bounds),
            *_function_problems(function, parameters, calls),
        ]
        if problems:
            raise ConfigurationError(bullets(f"the metric {called!r} cannot be used:", problems))
        least, most = bounds
        scale = "" if (least, most) == (0, 1) else f" ({least:g} to {most:g} of the function, scaled)"
        first = (inspect.getdoc(function) or "").partition("\n\n")[0]
        register(
            Metric(
                called,
                question,
                " ".join((meaning or first or f"the function {function.__name__}").split()),
                low_value,
                tuple(INPUTS[parameter] for parameter in parameters if parameter != JUDGE),
                judge_calls=judge_calls,
                calls_a_passage=judge_calls_a_passage,
                range=f"0 to 1{scale}",
                bounds=(float(least), float(most)),
                source=_source_digest(function),
                function=ByValue(function),
            )
        )
        return function

    return decorate


def rubric(name: str, levels: Sequence[str], *, question: str = "", low_value: str = "") -> Metric:
    """Register a rubric as a metric: the judge LLM chooses the level that describes an answer best.

    Args:
        levels: two to five descriptions, the worst first, which the judge sees as 1, 2, ... The score is 0 for the
            first and 1 for the last. Human labels may be level numbers (`dream.comparison.read_labels`).

    Example:
        >>> rubric("tone", ["It is rude.", "It is neutral.", "It is friendly."]).judge_calls
        1
    """
    if problems := [*name_problems(name), *level_problems(levels)]:
        raise ConfigurationError(bullets(f"the rubric {name!r} cannot be used:", problems))
    listed = ", ".join(f"{number / (len(levels) - 1):.3g}: {level}" for number, level in enumerate(levels))
    return register(
        Metric(
            name,
            question or f"Which level of the rubric {name!r} describes the answer?",
            f"the level that the judge chooses ({listed})".replace("|", "/"),
            low_value,
            ("user_input", "response", "reference"),
            judge_calls=1,
            range=f"0 to 1 (levels 1 to {len(levels)}, scaled)",
            bounds=(1.0, float(len(levels))),
            source=_digest(["rubric", *levels]),
            rubric=tuple(levels),
        )
    )


def aspect_critic(name: str, definition: str, *, low_value: str = "") -> Metric:
    """Register a criterion as a metric: 1 if the judge LLM finds that an answer meets it, else 0, as ragas' aspect
    critic.

    Args:
        definition: a yes/no question, where yes is good.

    Example:
        >>> aspect_critic("conciseness", "Does the response say it without superfluous words?").range
        '0 or 1'
    """
    if problems := [*name_problems(name), *([] if definition.strip() else ["the definition is empty"])]:
        raise ConfigurationError(bullets(f"the aspect {name!r} cannot be used:", problems))
    return register(
        Metric(
            name,
            definition,
            "1 if the judge answers this with yes, else 0",
            low_value,
            ("user_input", "response", "retrieved_contexts", "reference"),
            judge_calls=1,
            range="0 or 1",
            source=_digest(["criterion", definition]),
            criterion=definition,
        )
    )


def name_problems(name: str) -> list[str]:
    """The reason why a user's metric cannot have this name, if there is one."""
    if name in DEFINITIONS or name in _TAKEN:
        return [f"the name {name!r} is taken: give another one"]
    if not re.fullmatch(r"[^\W\d][\w-]*", name):
        return [f"the name {name!r} must begin with a letter, and contain only letters, digits, '_' and '-'"]
    return []


def level_problems(levels: Sequence[Any]) -> list[str]:
    """The mistake in the levels of a rubric, if there is one."""
    if 2 <= len(levels) <= 5 and all(isinstance(level, str) and level.strip() for level in levels):
        return []
    return [f"levels={list(levels)}: give two to five descriptions, the worst first"]


def _bounds_problems(bounds: tuple[float, float]) -> list[str]:
    numbers = [bound for bound in bounds if isinstance(bound, int | float) and isfinite(bound)]
    if len(numbers) == len(bounds) == 2 and numbers[0] != numbers[1]:
        return []
    return [f"bounds={bounds}: give the worst and the best value, such as (1, 5), or (5, 1) where lower is better"]


def _function_problems(function: Callable[..., Any], parameters: Sequence[str], calls: tuple[int, int]) -> list[str]:
    problems = [f"its parameter {name!r} is none of: {', '.join(INPUTS)}, {JUDGE}"
                for name in parameters if name not in INPUTS and name != JUDGE]  # fmt: skip
    if not set(parameters) & {"answer", "contexts", "evidence"}:
        problems.append("it needs at least one of the parameters answer, contexts and evidence")
    if JUDGE in parameters and not any(calls):
        problems.append("it asks the judge: give the number of calls per answer (judge_calls=1)")
    if JUDGE in parameters and not inspect.iscoroutinefunction(function):
        problems.append("it asks the judge: write `async def`, and `await judge.ask(prompt, Form)`")
    if JUDGE not in parameters and any(calls):
        problems.append("it has judge calls, but no parameter `judge`")
    if any(number < 0 for number in calls):
        problems.append(f"judge_calls={calls[0]}, judge_calls_a_passage={calls[1]}: give at least 0")
    return problems


def _source_digest(function: Callable[..., Any]) -> str:
    try:
        return _digest(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError):  # typed into a shell
        code = getattr(function, "__code__", None)
        return _digest([code.co_code.hex(), repr(code.co_consts)] if code else repr(function))


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, ensure_ascii=False).encode()).hexdigest()
