"""Import hook for the module names of version 0.1, which import the new modules with a DeprecationWarning."""

import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

# The modules documented in version 0.1, and the modules that have their contents now.
RENAMED: dict[str, tuple[str, ...]] = {
    "dream.evaluator": ("dream.evaluation",),
    "dream.experiment": ("dream.experiments",),
    "dream.golden_dataset": ("dream.golden",),
    "dream.losses": ("dream.comparison",),
    "dream.noise": ("dream.comparison",),
    "dream.plan": ("dream.experiments",),
    "dream.planned_calls": ("dream.models.planned_usage",),
    "dream.plots": ("dream.reporting",),
    "dream.power": ("dream.comparison",),
    "dream.query_engines": ("dream.rag",),
    "dream.report": ("dream.reporting",),
    "dream.results": ("dream.experiments", "dream.tables"),
}


class _Finder(MetaPathFinder, Loader):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return ModuleSpec(fullname, self) if fullname in RENAMED else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        homes = RENAMED[spec.name]
        warnings.warn(f"{spec.name} is now {' and '.join(homes)}", DeprecationWarning, stacklevel=2)
        alias = ModuleType(spec.name)
        for home in map(import_module, homes):
            vars(alias).update({name: value for name, value in vars(home).items() if not name.startswith("__")})
        return alias

    def exec_module(self, module: ModuleType) -> None:
        """Do nothing: `create_module` has filled the module."""


def install() -> None:
    """Add the import hook to `sys.meta_path`, once."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.append(_Finder())
