"""`check_arrival`: metrics of the user's own are tried on a worker before anything is paid."""

import pickle
from collections.abc import Callable, Sequence
from concurrent.futures import Future

from dream.by_value import dumped
from dream.errors import ConfigurationError, bullets, explain
from dream.metrics import Metric

REMEDY = (
    "Define it in a notebook, script or module, without open files, locks or connections in what it refers to (open "
    "them inside the function), and install on the workers the packages that it imports"
)


def check_arrival(metrics: Sequence[Metric], submit: "Callable[..., Future[list[str]]]") -> None:
    """Pickle metrics as they go to the workers, and load them on one.

    Args:
        submit: runs a task in another process (`dream.engines.Engine.submit`).

    Raises:
        ConfigurationError: naming every metric that does not arrive, why, and what to do.
    """
    packed: dict[str, bytes] = {}
    problems: list[str] = []
    for metric in metrics:
        try:
            packed[metric.name] = dumped(metric)
        except Exception as error:  # noqa: BLE001 - whatever an object does when it is pickled
            problems.append(f"{metric.name} cannot be pickled: {explain(error)}")
    if packed and not problems:
        problems = submit(problems_of_arrival, packed).result()
    if problems:
        raise ConfigurationError(f"{bullets('metrics that cannot go to the workers:', problems)}\n{REMEDY}")


def problems_of_arrival(packed: dict[str, bytes]) -> list[str]:
    """The task of a worker: why metrics cannot be loaded there."""
    problems = []
    for name, content in packed.items():
        try:
            pickle.loads(content)
        except Exception as error:  # noqa: BLE001 - whatever an import does
            problems.append(f"{name} cannot be loaded on a worker: {explain(error)}")
    return problems
