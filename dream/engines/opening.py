"""`opened`: an engine for a `with` block."""

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager

from dream import ray_cluster, services
from dream.engines.choice import RAY, EngineChoice
from dream.engines.engine import Engine
from dream.runtime.libraries import import_meanwhile
from dream.settings import Settings


@contextmanager
def opened(choice: EngineChoice, settings: Settings, meanwhile: Sequence[str] = ()) -> Iterator[Engine]:
    """The engine of this choice; services that are opened within the block run on it.

    Args:
        meanwhile: modules to import in a thread meanwhile (`dream.runtime.libraries.import_meanwhile`).

    Raises:
        ServiceError: when the Ray cluster cannot be used.
    """
    if choice.engine == RAY:
        from dream.engines.on_ray import RayEngine, check_workers

        with ray_cluster.connected(settings, meanwhile) as cluster, closing(RayEngine(cluster)) as engine:
            check_workers()
            yield engine
        return
    from dream.engines.in_process import InProcessEngine

    import_meanwhile(meanwhile)
    with services.in_this_process(), closing(InProcessEngine()) as engine:
        yield engine
