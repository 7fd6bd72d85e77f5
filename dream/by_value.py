"""`ByValue`: an object that goes to other processes with the code that it is made of."""

import pickle
import site
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

_OURS = __name__.partition(".")[0]


@dataclass(frozen=True)
class ByValue:
    """An object such as a function. When this is pickled, whatever the pickler, functions and classes of notebooks,
    scripts and modules outside of installed packages are in it by value, so that a process without them can load it."""

    value: Any

    def __reduce__(self) -> tuple[Any, ...]:
        return _loaded, (dumped(self.value),)


def dumped(value: Any) -> bytes:
    """The pickle of an object with all code that no installed package has."""
    import cloudpickle

    with _local_modules_by_value():
        return cloudpickle.dumps(value)


def _loaded(content: bytes) -> ByValue:
    return ByValue(pickle.loads(content))


@contextmanager
def _local_modules_by_value() -> Iterator[None]:
    from cloudpickle import list_registry_pickle_by_value, register_pickle_by_value, unregister_pickle_by_value

    before = list_registry_pickle_by_value()
    local = [module for module in list(sys.modules.values()) if _is_local(module) and module.__name__ not in before]
    for module in local:
        register_pickle_by_value(module)
    try:
        yield
    finally:
        for module in local:
            unregister_pickle_by_value(module)


def _is_local(module: ModuleType | None) -> bool:
    """True for a module that a process elsewhere may not have."""
    name, file = getattr(module, "__name__", None), getattr(module, "__file__", None)
    if not file or not name or name == "__main__" or name.partition(".")[0] == _OURS:
        return False
    if sys.modules.get(name) is not module:
        return False
    return not any(Path(file).is_relative_to(folder) for folder in _installed())


def _installed() -> list[str]:
    """The folders of the standard library and of installed packages."""
    paths = sysconfig.get_paths()
    folders = [paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    return [*folders, *site.getsitepackages(), site.getusersitepackages()]
