"""`ByValue`: an object that is sent to other processes together with its code."""

import os
import pickle
import site
import sys
import sysconfig
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from dream.errors import ConfigurationError, bullets, explain

_OURS = __name__.partition(".")[0]


_REMEDY = (
    "Define it at the top of a notebook, script or module, without open files, locks, connections or clients in what "
    "it refers to (open them inside the function), and import what it uses from packages that the workers have; or "
    "install its package on the workers; or run it in this process: engine='in_process' (dream run --engine in_process)"
)


@dataclass(frozen=True)
class ByValue:
    """An object such as a function. With any pickler, its pickle includes functions and classes of notebooks, scripts
    and modules outside of installed packages, so that a process without them can load it."""

    value: Any

    def __reduce__(self) -> tuple[Any, ...]:
        return _loaded, (dumped(self.value),)


def dumped(value: Any) -> bytes:
    """The pickle of an object, with all code that is not in installed packages."""
    import cloudpickle

    with _local_modules_by_value():
        return cloudpickle.dumps(value)


def packed(kind: str, values: Mapping[str, Any]) -> dict[str, bytes]:
    """The pickle of each value, by name.

    Args:
        kind: the kind of values in the plural, for messages.

    Raises:
        ConfigurationError: naming every value that cannot be pickled, with reason and remedy.
    """
    pickles, problems = {}, []
    for name, value in values.items():
        try:
            pickles[name] = dumped(value)
        except Exception as error:  # noqa: BLE001 - whatever an object does when it is pickled
            problems.append(f"{name} cannot be pickled: {explain(error)}")
    _refuse(kind, problems)
    return pickles


def check_arrival(kind: str, values: Mapping[str, Any], submit: "Callable[..., Future[list[str]]]") -> None:
    """Check that a worker can load the values, before anything is billed.

    Args:
        kind: as in `packed`.
        submit: runs a task in another process (`dream.engines.Engine.submit`).

    Raises:
        ConfigurationError: naming every value that cannot be loaded, with reason and remedy.
    """
    if values:
        _refuse(kind, submit(_problems_of_arrival, packed(kind, values)).result())


def _problems_of_arrival(contents: Mapping[str, bytes]) -> list[str]:
    """The task of a worker: the reasons why values cannot be loaded there."""
    problems = []
    for name, content in contents.items():
        try:
            pickle.loads(content)
        except Exception as error:  # noqa: BLE001 - whatever an import does
            problems.append(f"{name} cannot be loaded on a worker: {explain(error)}")
    return problems


def _refuse(kind: str, problems: list[str]) -> None:
    if problems:
        text = bullets(f"{len(problems)} {kind} cannot be sent to the workers:", problems)
        raise ConfigurationError(f"{text}\n{_REMEDY}")


def _loaded(content: bytes) -> ByValue:
    return ByValue(pickle.loads(content))


@contextmanager
def _local_modules_by_value() -> Iterator[None]:
    from cloudpickle import list_registry_pickle_by_value, register_pickle_by_value, unregister_pickle_by_value

    before, installed = list_registry_pickle_by_value(), _installed()
    local = [each for each in list(sys.modules.values()) if _is_local(each, installed) and each.__name__ not in before]
    for module in local:
        register_pickle_by_value(module)
    try:
        yield
    finally:
        for module in local:
            unregister_pickle_by_value(module)


def _is_local(module: ModuleType | None, installed: tuple[str, ...]) -> bool:
    """True for a module that another machine may lack, because its file is in none of the `installed` folders."""
    name, file = getattr(module, "__name__", None), getattr(module, "__file__", None)
    if not file or not name or name == "__main__" or name.partition(".")[0] == _OURS:
        return False
    if sys.modules.get(name) is not module:
        return False
    return not str(Path(file)).startswith(installed)


def _installed() -> tuple[str, ...]:
    """The folders of the standard library and of installed packages, each with a separator at its end."""
    paths = sysconfig.get_paths()
    folders = [paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    return tuple(os.path.join(each, "") for each in (*folders, *site.getsitepackages(), site.getusersitepackages()))
