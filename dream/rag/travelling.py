"""`TravellingMethods`: the RAG methods of one's own that go to the workers with an experiment's trials.

A worker need not have the code: functions and classes of notebooks, scripts and modules outside of installed packages
are pickled by value (cloudpickle). `check_travelling` tries it on a worker before anything is paid.
"""

import pickle
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from typing import Any

from dream.by_value import dumped
from dream.errors import ConfigurationError, bullets, explain
from dream.rag.own_systems import OwnSystem
from dream.rag.registry import RAG_METHODS, RagMethod
from dream.records import Trial

_OURS = f"{__name__.partition('.')[0]}."
REMEDY = (
    "Define it at the top of a notebook, script or module, without open files, locks, connections or clients in what "
    "it refers to (open them inside the function), and import what it uses from packages that the workers have; or "
    "install its package on the workers; or run it in this process: engine='in_process' (dream run --engine in_process)"
)


class TravellingMethods(Mapping[str, RagMethod]):
    """RAG methods by name. When pickled, whatever the pickler, they hold all that a worker may not have."""

    def __init__(self, methods: Mapping[str, RagMethod] | None = None) -> None:
        self._methods = dict(methods or {})

    @classmethod
    def of(cls, trials: Iterable[Trial]) -> "TravellingMethods":
        """The methods that trials use and that do not come with DREAM."""
        names = dict.fromkeys(trial.query_engine_identifier for trial in trials)
        used = {name: RAG_METHODS[name] for name in names if name in RAG_METHODS}
        return cls({name: method for name, method in used.items() if not is_built_in(method)})

    def __getitem__(self, name: str) -> RagMethod:
        return self._methods[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._methods)

    def __len__(self) -> int:
        return len(self._methods)

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpacked, (self.packed() if self._methods else {},)

    def packed(self) -> dict[str, bytes]:
        """Each method pickled.

        Raises:
            ConfigurationError: naming every method that cannot be pickled, and why.
        """
        packed, problems = {}, []
        for name, method in self._methods.items():
            try:
                packed[name] = dumped(method)
            except Exception as error:  # noqa: BLE001 - whatever an object does when it is pickled
                problems.append(f"{name} cannot be pickled: {explain(error)}")
        if problems:
            raise _refused(problems)
        return packed


def is_built_in(method: RagMethod) -> bool:
    """True for a method that comes with DREAM."""
    return not isinstance(method.function, OwnSystem) and method.function.__module__.startswith(_OURS)


def check_travelling(methods: TravellingMethods, submit: Callable[..., "Future[list[str]]"]) -> None:
    """Try on a worker if methods arrive there.

    Args:
        submit: runs a task in another process (`dream.engines.Engine.submit`).

    Raises:
        ConfigurationError: naming every method that does not arrive, why, and what to do.
    """
    if methods and (problems := submit(problems_of_arrival, methods.packed()).result()):
        raise _refused(problems)


def problems_of_arrival(packed: Mapping[str, bytes]) -> list[str]:
    """The task that a worker runs: why methods cannot be unpickled here."""
    problems = []
    for name, content in packed.items():
        try:
            pickle.loads(content)
        except Exception as error:  # noqa: BLE001 - whatever an import does
            problems.append(f"{name} cannot be loaded on a worker: {type(error).__name__}: {explain(error)}")
    return problems


def _refused(problems: list[str]) -> ConfigurationError:
    text = bullets(f"{len(problems)} RAG method(s) cannot go to the workers:", problems)
    return ConfigurationError(f"{text}\n{REMEDY}")


def _unpacked(packed: Mapping[str, bytes]) -> TravellingMethods:
    return TravellingMethods({name: pickle.loads(content) for name, content in packed.items()})
