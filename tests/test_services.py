"""Services in this process: calls by the methods themselves, and clients that belong to a session."""

import asyncio
import os
import pickle
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from dream import services
from dream.errors import ServiceError
from dream.runtime import event_loop
from dream.runtime.event_loop import run_async
from dream.services import InProcess, LocalService, OnRay, RayService, ServiceKind, ServicesProcess, Session


class Counter:
    """A service with methods of both kinds."""

    def __init__(self) -> None:
        self.total = 0

    def name(self) -> str:
        return "counter"

    async def add(self, number: int, *, times: int = 1) -> int:
        await asyncio.sleep(0)
        self.total += number * times
        return self.total

    async def fail(self) -> None:
        raise ValueError("no such number")

    async def thread(self) -> str:
        return threading.current_thread().name


def test_methods_of_both_kinds_are_called_with_their_arguments():
    service = LocalService(Counter())
    assert service.call(Counter.name) == "counter"
    assert service.call(Counter.add, 3, times=2) == 6
    assert run_async(service.call_async(Counter.add, 1)) == 7
    with pytest.raises(ValueError, match="no such number"):
        service.call(Counter.fail)


async def test_coroutines_run_on_dreams_own_loop_from_any_other():
    service = LocalService(Counter())
    assert await service.call_async(Counter.thread) == "dream-loop"
    assert await asyncio.to_thread(service.call, Counter.thread) == "dream-loop"


KIND = ServiceKind[Counter]("counter of tests", "tests-counter")


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch) -> ServicesProcess:
    """The class of the Ray actor, used in this process, whose session and loop come back at the end."""
    for name in ("_loop", "_loop_thread"):
        monkeypatch.setattr(event_loop, name, None)
    monkeypatch.setattr(services, "_session", Session())
    monkeypatch.setattr(services, "_local_services", {})
    return ServicesProcess()


async def test_a_process_calls_methods_of_both_kinds_of_the_services_that_it_is_told_to_start(process):
    await process.start("one", pickle.dumps(Counter))
    await process.start("two", pickle.dumps(Counter))
    assert await process.call("one", Counter.name) == "counter"
    assert await process.call("one", Counter.add, 2, times=4) == 8
    assert await process.call("two", Counter.add, 1) == 1
    with pytest.raises(ValueError, match="no such number"):
        await process.call("one", Counter.fail)


async def test_a_service_starts_once_and_anew_when_it_has_ended(process):
    await asyncio.gather(*(process.start("one", pickle.dumps(Counter)) for _ in range(5)))
    await process.call("one", Counter.add, 2)
    await process.start("one", pickle.dumps(Counter))
    assert await process.call("one", Counter.add, 2) == 4
    await process.end("one")
    assert not await process.has("one")
    with pytest.raises(ServiceError, match="the service one has ended"):
        await process.call("one", Counter.name)
    await process.start("one", pickle.dumps(Counter))
    assert await process.call("one", Counter.add, 1) == 1


is_starting, may_start = threading.Event(), threading.Event()


def slow_counter() -> Counter:
    is_starting.set()
    assert may_start.wait(60)
    return Counter()


async def test_a_slow_start_and_what_waits_for_the_loop_stop_no_other_service(process):
    await process.start("one", pickle.dumps(Counter))
    starting = asyncio.create_task(process.start("two", pickle.dumps(slow_counter)))
    assert await asyncio.to_thread(is_starting.wait, 60)
    assert await process.call("one", Counter.add, 1) == 1
    assert not starting.done()
    may_start.set()
    await starting


async def test_threads_of_the_process_reach_its_services_on_its_own_loop(process):
    await process.start(KIND.name, pickle.dumps(Counter))
    here = services.host().find(KIND)
    assert isinstance(here, LocalService)
    assert await asyncio.to_thread(here.call, Counter.thread) == threading.current_thread().name


def process_id(service: Counter) -> int:
    return os.getpid()


def add_in_a_task(service: RayService[Counter]) -> int:
    return service.call(Counter.add, 1)


@pytest.fixture
def sent_whole(on_ray: object) -> Iterator[None]:
    """The cluster's processes do not have this module."""
    from ray import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    yield
    cloudpickle.unregister_pickle_by_value(sys.modules[__name__])


def test_on_ray_services_share_one_process_and_end_by_themselves(sent_whole):
    """Other processes of the job find them by their names; a killed process is an error that says what to do."""
    import ray

    assert OnRay().find(KIND) is None
    first, second = OnRay().start(KIND, Counter), OnRay().start(ServiceKind("another", "tests-other"), Counter)
    (pid,) = {first.call(process_id), second.call(process_id)}
    assert pid != os.getpid()
    assert first.call(Counter.add, 2, times=2) == 4
    found = OnRay().find(KIND)
    assert found is not None and found.call(Counter.add, 1) == 5
    assert ray.get(ray.remote(add_in_a_task).options(num_cpus=0).remote(first)) == 6
    with pytest.raises(ValueError, match="no such number"):
        first.call(Counter.fail)
    first.end()
    assert OnRay().find(KIND) is None
    with pytest.raises(ServiceError, match="has ended"):
        first.call(Counter.name)
    assert OnRay().start(KIND, Counter).call(Counter.add, 1) == 1
    ray.kill(ray.get_actor(services.ACTOR_NAME))
    with pytest.raises(ServiceError, match=r"the counter of tests is gone \(Actor died.*dream run --resume NAME"):
        first.call(Counter.name)
    first.end()


def test_without_ray_services_are_in_this_process(monkeypatch):
    monkeypatch.setattr("dream.ray_cluster.on_ray", lambda: False)
    assert isinstance(services.host(), InProcess)


def test_the_first_of_several_threads_opens_a_client_for_all():
    session, barrier, opened = Session(), threading.Barrier(8), []

    def open_counter() -> Counter:
        opened.append(Counter())
        return opened[-1]

    def first(_: int) -> Counter:
        barrier.wait(30)
        return session.get_or_open(Counter, open_counter)

    with ThreadPoolExecutor(8) as threads:
        assert set(threads.map(first, range(8))) == set(opened)
    assert len(opened) == 1


def test_clients_are_told_apart_by_class_and_name_until_they_are_taken_out():
    session = Session()
    here, there = session.get_or_open(Counter, Counter), session.get_or_open(Counter, Counter, "there")
    assert here is not there
    assert session.get(Counter) is here
    assert session.take_out(Counter) is here
    assert session.get(Counter) is None
    assert session.get(Counter, "there") is there
    assert session.take_out(Counter) is None


def test_a_new_session_knows_no_client_of_the_one_before():
    before = services.session()
    before.get_or_open(Counter, Counter)
    services.renew_session()
    try:
        assert services.session().get(Counter) is None
    finally:
        before.take_out(Counter)
        services._session = before
