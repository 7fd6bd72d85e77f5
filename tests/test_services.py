"""Services in this process: calls by the methods themselves, and clients that belong to a session."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from dream import services
from dream.event_loop import run_async
from dream.services import InProcess, LocalService, ServiceActor, Session


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


async def test_an_actor_calls_methods_of_both_kinds_on_its_loop():
    actor = ServiceActor(Counter)
    assert await actor.call(Counter.name) == "counter"
    assert await actor.call(Counter.add, 2, times=4) == 8
    with pytest.raises(ValueError, match="no such number"):
        await actor.call(Counter.fail)


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
