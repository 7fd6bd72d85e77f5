"""User-defined metric functions with the `ascore` interface of ragas' metrics."""

import asyncio
import inspect
import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel

from dream.errors import ConfigurationError, DataError
from dream.evaluation.judgement import Judgement
from dream.metrics import Metric
from dream.metrics.own import INPUTS, JUDGE

if TYPE_CHECKING:
    from ragas.llms.base import InstructorBaseRagasLLM

Form = TypeVar("Form", bound=BaseModel)


@dataclass(frozen=True)
class AskedJudge:
    """The judge LLM for user-defined functions: its calls are cached, limited, counted and read like the judge's other
    calls."""

    llm: "InstructorBaseRagasLLM"

    async def ask(self, prompt: str, form: type[Form]) -> Form:
        """The judge's answer to a prompt, as an instance of a pydantic model.

        Raises:
            DataError: if the answer cannot be read in this form, even after a second request.
        """
        schema = json.dumps(form.model_json_schema(), ensure_ascii=False)
        asked = "Return the output as JSON that complies with this schema, as specified in JSON Schema:"
        return await self.llm.agenerate(f"{prompt}\n{asked}\n{schema}", form)


@dataclass(frozen=True)
class OwnFunction:
    """A function that `@metric` registered."""

    definition: Metric
    judge: AskedJudge

    async def ascore(self, **arguments: Any) -> Judgement:
        """The value on a scale from 0 to 1.

        Raises:
            DataError: if the function returns no number within its bounds. Exceptions of the function are passed on.
        """
        if self.definition.function is None:
            raise ConfigurationError(f"the function of the metric {self.definition.name!r} is unavailable: register it")
        function = self.definition.function.value
        given = {name: arguments[argument] for name, argument in INPUTS.items() if argument in arguments}
        if JUDGE in inspect.signature(function).parameters:
            given[JUDGE] = self.judge
        if inspect.iscoroutinefunction(function):
            returned = await function(**given)
        else:
            returned = await asyncio.to_thread(function, **given)
        return _judgement(returned, self.definition)


def _judgement(returned: Any, metric: Metric) -> Judgement:
    value: Any
    value, reason = returned if isinstance(returned, tuple) and len(returned) == 2 else (returned, None)
    least, most = metric.bounds
    try:
        number = float(value) if not isinstance(value, str | bytes) else None
    except (TypeError, ValueError):
        number = None
    if number is None:
        raise DataError(f"{metric.name} returned {value!r:.100}: it must return a number from {least:g} to {most:g}")
    if math.isnan(number) or not min(least, most) <= number <= max(least, most):
        raise DataError(f"{metric.name} returned {number:g}, which is not within its bounds, {least:g} to {most:g}")
    scale = [] if (least, most) == (0, 1) else [f"{number:g} on a scale of {least:g} to {most:g}"]
    text = ": ".join([*scale, *([str(reason)] if reason else [])])
    return Judgement((number - least) / (most - least), text or None)
