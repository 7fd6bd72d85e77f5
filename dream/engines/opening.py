"""`opened`: an engine for the length of a `with` block."""

from collections.abc import Iterator
from contextlib import contextmanager

from dream import ray_cluster, services
from dream.engines.choice import RAY, EngineChoice
from dream.engines.engine import Engine
from dream.settings import Settings


@contextmanager
def opened(choice: EngineChoice, settings: Settings, meanwhile: str = "") -> Iterator[Engine]:
    """The engine of this choice; services that are opened within the block run on it.

    Args:
        meanwhile: a module to import in a thread while a local Ray starts its processes.

    Raises:
        ServiceError: when the Ray cluster cannot be used.
    """
    if choice.engine == RAY:
        from dream.engines.on_ray import RayEngine

        with ray_cluster.connected(settings, meanwhile) as cluster:
            yield RayEngine(cluster)
        return
    from dream.engines.in_process import InProcessEngine

    with services.in_this_process():
        engine = InProcessEngine()
        try:
            yield engine
        finally:
            engine.close()
