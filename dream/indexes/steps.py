"""`Steps`: run the steps of building an index in this process, in the builder's actor, or as Ray tasks.

A step returns a pair: its large result, which stays where it is, and a small one, which travels to the builder.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, Protocol

from dream import ray_cluster
from dream.runtime.event_loop import Waits
from dream.runtime.libraries import import_meanwhile, wait_for_imports
from dream.services import RayService, ServiceKind, renew_session

if TYPE_CHECKING:
    from dream.indexes.builder import IndexBuilder

INDEXES: "ServiceKind[IndexBuilder]" = ServiceKind("index builder", "dream-indexes")
THREADS = 4
# The imports of steps that chunk and embed: two seconds of CPU.
STEP_MODULES = ("dream.indexes.nodes", "dream.runtime.light_nltk", "dream.models.query_embedding")

Step = Callable[..., tuple[Any, Any]]
# a function of an index's key, a part of it, and the number of the part's texts with vectors or contexts
Report = Callable[[str, Any, int], Any]


class Machine(Enum):
    """The machines of the cluster that may run a step."""

    ANY = "any"
    OF_BUILDER = "of the builder"


class Steps(Protocol):
    """Runs steps, and passes values to and from them."""

    async def run(self, step: Step, *arguments: Any, machine: Machine = Machine.ANY) -> tuple[Any, Any]: ...

    def put(self, value: Any) -> Any:
        """Convert a value to the form that steps take as an argument."""
        ...

    def share(self, large: Any) -> Any:
        """Convert the large result of a step to the form that trials take."""
        ...

    def report(self, builder: "IndexBuilder") -> Report:
        """A function with which steps report their progress to the builder, called on the builder's event loop."""
        ...


class LocalSteps:
    """Steps as threads of this process.

    It has its own threads, because those of the event loop resolve host names for the calls that steps wait for.
    """

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(THREADS, "dream-index-step")
        self._waits = Waits()

    async def run(self, step: Step, *arguments: Any, machine: Machine = Machine.ANY) -> tuple[Any, Any]:
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._run, step, *arguments)

    def _run(self, step: Step, *arguments: Any) -> tuple[Any, Any]:
        with self._waits.entered():
            return step(*arguments)

    def close(self) -> None:
        """End running steps, and start no others."""
        self._waits.cancel()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def put(self, value: Any) -> Any:
        return value

    def share(self, large: Any) -> Any:
        return large

    def report(self, builder: "IndexBuilder") -> Report:
        return partial(asyncio.get_running_loop().call_soon_threadsafe, builder.embedded)


class ProcessSteps(LocalSteps):
    """Steps as tasks of other processes, for work that would keep Python busy.

    Args:
        submit: runs a task (`dream.engines.Engine.submit`); steps and their results must survive pickling.
    """

    def __init__(self, submit: Callable[..., "Future[tuple[Any, Any]]"]) -> None:
        super().__init__()
        self._submit = submit

    async def run(self, step: Step, *arguments: Any, machine: Machine = Machine.ANY) -> tuple[Any, Any]:
        return await asyncio.wrap_future(self._submit(step, *arguments))


class ActorSteps(LocalSteps):
    """Steps as threads of the builder's process, for small indexes, whose data trials get from Ray's object store.

    That process imports what steps need while the driver still checks the models.
    """

    def __init__(self) -> None:
        super().__init__()
        import_meanwhile(STEP_MODULES)

    async def run(self, step: Step, *arguments: Any, machine: Machine = Machine.ANY) -> tuple[Any, Any]:
        return await super().run(_on_worker, step, *arguments)

    def _run(self, step: Step, *arguments: Any) -> tuple[Any, Any]:
        wait_for_imports()
        return super()._run(step, *arguments)

    def share(self, large: Any) -> Any:
        import ray

        return ray.put(large)


class RaySteps:
    """Steps as Ray tasks, at most as many at once as the cluster has CPUs.

    They reserve no CPU of Ray, because the trials that wait for them have reserved all CPUs.
    """

    def __init__(self) -> None:
        import ray

        self._permits = asyncio.Semaphore(max(2, int(ray.cluster_resources().get("CPU", 1))))
        self._node_id = ray.get_runtime_context().get_node_id()

    async def run(self, step: Step, *arguments: Any, machine: Machine = Machine.ANY) -> tuple[Any, Any]:
        import ray

        async with self._permits:
            options = {"name": f"dream-index-{step.__name__}", "scheduling_strategy": self._scheduling(machine)}
            large, small = _worker_task().options(**options).remote(step, *arguments)
            try:
                with ray_cluster.unwrapped():
                    return large, await small
            except asyncio.CancelledError:
                ray.cancel(small, force=True)
                raise

    def _scheduling(self, machine: Machine) -> Any:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        return NodeAffinitySchedulingStrategy(self._node_id, soft=False) if machine is Machine.OF_BUILDER else "SPREAD"

    def put(self, value: Any) -> Any:
        import ray

        return ray.put(value)

    def share(self, large: Any) -> Any:
        return large  # a reference already

    def report(self, builder: "IndexBuilder") -> Report:
        import ray

        return _ReportToBuilder(RayService(INDEXES, ray.get_runtime_context().current_actor))


@lru_cache
def _worker_task() -> Any:
    import ray

    return ray.remote(num_cpus=0, num_returns=2, max_retries=3)(_on_worker)


def _on_worker(step: Step, *arguments: Any) -> tuple[Any, Any]:
    renew_session()
    return step(*arguments)


@dataclass(frozen=True)
class _ReportToBuilder:
    builder: "RayService[IndexBuilder]"

    def __call__(self, key: str, part: Any, n_texts: int) -> None:
        from dream.indexes.builder import IndexBuilder

        self.builder.send(IndexBuilder.embedded, key, part, n_texts)
