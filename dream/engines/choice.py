"""`choose_engine`: the engine of an experiment, and the reason for the choice."""

import os
from dataclasses import dataclass

from dream import ray_cluster
from dream.defaults import ENGINES as ENGINES
from dream.errors import ConfigurationError
from dream.settings import Settings

AUTO, IN_PROCESS, RAY = ENGINES
# A local Ray takes about 12 CPU seconds to start. From this number of CPUs on, its processes save more than that in an
# experiment of a hundred questions, because one process uses little more than one CPU (tests/benchmarks/README.md).
CPUS_FOR_RAY = 8


@dataclass(frozen=True)
class EngineChoice:
    """The name of an engine, and a short reason for the choice."""

    engine: str
    reason: str

    def __str__(self) -> str:
        return f"engine: {self.engine} ({self.reason})"


def choose_engine(engine: str | None, settings: Settings) -> EngineChoice:
    """The engine named by `engine`, or by `settings.engine` if that is None.

    `auto` is Ray if RAY_ADDRESS is set, this process is connected to Ray, or the machine has at least 8 CPUs; else this
    process.

    Raises:
        ConfigurationError: for another name.

    Example:
        >>> print(choose_engine("in_process", Settings.from_environment({})))
        engine: in_process (as asked for)
    """
    asked = engine or settings.engine
    if asked not in ENGINES:
        raise ConfigurationError(f"engine={asked!r}: give one of {', '.join(ENGINES)}")
    if asked != AUTO:
        return EngineChoice(asked, "as asked for" if engine else "DREAM_ENGINE")
    if settings.ray_address:
        return EngineChoice(RAY, f"RAY_ADDRESS={settings.ray_address}")
    if ray_cluster.on_ray():
        return EngineChoice(RAY, "this process is connected to Ray")
    cpus = cpu_count()
    if cpus >= CPUS_FOR_RAY:
        return EngineChoice(RAY, f"{cpus} CPUs")
    return EngineChoice(IN_PROCESS, f"no RAY_ADDRESS, {cpus} CPUs")


def cpu_count() -> int:
    """The number of CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
