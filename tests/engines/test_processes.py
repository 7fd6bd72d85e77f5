"""Real child processes: their results and failures, and their calls of the gateway in this one."""

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
import tasks
from model_servers import ModelServer

from dream.engines.processes import ProcessPool
from dream.errors import ConfigurationError, ServiceError
from dream.models.gateway_client import GatewayClient

pytestmark = pytest.mark.whole
SECONDS = 60


@pytest.fixture(scope="module")
def pool() -> Iterator[ProcessPool]:
    opened = ProcessPool(2)
    yield opened
    opened.close()


def test_tasks_share_the_processes_of_the_pool(pool: ProcessPool):
    futures = [pool.submit(tasks.square, number) for number in range(6)]
    results = [future.result(SECONDS) for future in futures]
    assert [square for square, _ in results] == [0, 1, 4, 9, 16, 25]
    assert len({pid for _, pid in results}) == 2
    assert os.getpid() not in {pid for _, pid in results}


def test_sets_have_the_same_order_in_every_process(pool: ProcessPool):
    other = ProcessPool(1)
    try:
        orders = [place.submit(tasks.order_of_a_set).result(SECONDS) for place in (pool, pool, other)]
    finally:
        other.close()
    assert orders[0] == orders[1] == orders[2]


def test_what_a_task_raises_is_raised_where_it_was_submitted(pool: ProcessPool):
    with pytest.raises(ValueError, match="no such number"):
        pool.submit(tasks.fail, "no such number").result(SECONDS)
    with pytest.raises(ServiceError, match="a lock cannot be sent to another process"):
        pool.submit(tasks.unpicklable).result(SECONDS)


def test_a_process_that_dies_is_told_with_its_last_words_and_replaced(pool: ProcessPool):
    with pytest.raises(ServiceError, match="the process of a task ended: exit code -9, dying words"):
        pool.submit(tasks.die).result(SECONDS)
    assert pool.submit(tasks.square, 3).result(SECONDS)[0] == 9


def test_what_tasks_print_is_not_shown(pool: ProcessPool, capfd: pytest.CaptureFixture[str]):
    pool.submit(tasks.print_much).result(SECONDS)
    assert capfd.readouterr().out == ""


def test_models_are_called_through_the_gateway_of_this_process(
    pool: ProcessPool, gateway: GatewayClient, model_server: ModelServer
):
    answer = pool.submit(tasks.complete, "hello").result(SECONDS)
    assert pool.submit(tasks.complete_all, ["hello"] * 30 + ["goodbye"]).result(SECONDS)[:30] == [answer] * 30
    (row,) = gateway.usage()
    assert (row.stage, row.calls, row.sent, row.cached) == ("generate", 32, 2, 30)
    assert model_server.counters()["calls"] == 2


def test_errors_of_the_gateway_reach_the_task(pool: ProcessPool, no_environment: None):
    from dream.models import gateway_client
    from dream.settings import Settings

    with (
        gateway_client.opened(Settings.from_environment({"DREAM_OFFLINE": "1"})),
        pytest.raises(ConfigurationError, match="no model endpoint 'openai' is configured"),
    ):
        pool.submit(tasks.complete, "hello").result(SECONDS)


def test_closing_ends_processes_that_are_at_work():
    pool = ProcessPool(1)
    _, pid = pool.submit(tasks.square, 2).result(SECONDS)
    pool.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_child_imports_only_what_it_uses():
    """Its start is time that somebody waits for: the HTTP client alone would double it."""
    program = "import sys, dream.engines.processes; print(*{'httpx', 'tenacity', 'numpy', 'ray'} & {*sys.modules})"
    assert subprocess.check_output([sys.executable, "-c", program], text=True).strip() == ""
