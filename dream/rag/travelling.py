"""`TravellingMethods`: the RAG methods of one's own that go to the workers with an experiment's trials.

A worker need not have the code: functions and classes of notebooks, scripts and modules outside of installed packages
are pickled by value (cloudpickle). `check_travelling` tries it on a worker before anything is paid.
"""

import pickle
import site
import sys
import sysconfig
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

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
                packed[name] = _dumped(method)
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


def _dumped(value: Any) -> bytes:
    import cloudpickle

    with _local_modules_by_value():
        return cloudpickle.dumps(value)


@contextmanager
def _local_modules_by_value() -> Iterator[None]:
    """Within the block, cloudpickle takes modules that no installed package has along by value."""
    from cloudpickle import list_registry_pickle_by_value, register_pickle_by_value, unregister_pickle_by_value

    before = list_registry_pickle_by_value()
    installed = _installed()
    modules = [module for module in list(sys.modules.values()) if _is_local(module, installed)]
    local = [module for module in modules if module.__name__ not in before]
    for module in local:
        register_pickle_by_value(module)
    try:
        yield
    finally:
        for module in local:
            unregister_pickle_by_value(module)


def _is_local(module: ModuleType | None, installed: Sequence[str]) -> bool:
    """True for a loaded module of a file outside of the folders of installed packages."""
    name, file = getattr(module, "__name__", None), getattr(module, "__file__", None)
    if not file or not name or name == "__main__" or name.partition(".")[0] == _OURS[:-1]:
        return False
    if sys.modules.get(name) is not module:
        return False
    return not any(Path(file).is_relative_to(folder) for folder in installed)


def _installed() -> list[str]:
    """The folders of the standard library and of installed packages."""
    paths = sysconfig.get_paths()
    folders = [paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    return [*folders, *site.getsitepackages(), site.getusersitepackages()]
