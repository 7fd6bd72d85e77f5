"""`TravellingMethods`: user-defined RAG methods that are sent to the workers with an experiment's trials.

Workers need not have the code: functions and classes of notebooks, scripts and modules outside of installed packages
are pickled by value (cloudpickle).
"""

import pickle
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from dream.rag.own_systems import OwnSystem
from dream.rag.registry import RAG_METHODS, RagMethod
from dream.records import Trial
from dream.runtime.by_value import packed

KIND = "RAG method(s)"
_OURS = f"{__name__.partition('.')[0]}."


class TravellingMethods(Mapping[str, RagMethod]):
    """RAG methods by name. Pickling them, with any pickler, includes all code that a worker may lack."""

    def __init__(self, methods: Mapping[str, RagMethod] | None = None) -> None:
        self._methods = dict(methods or {})

    @classmethod
    def of(cls, trials: Iterable[Trial]) -> "TravellingMethods":
        """The methods of trials that are not built in."""
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
        return _unpacked, (packed(KIND, self._methods),)


def is_built_in(method: RagMethod) -> bool:
    """True for a built-in method."""
    return not isinstance(method.function, OwnSystem) and method.function.__module__.startswith(_OURS)


def _unpacked(contents: Mapping[str, bytes]) -> TravellingMethods:
    return TravellingMethods({name: pickle.loads(content) for name, content in contents.items()})
