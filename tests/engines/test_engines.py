"""The same tests of trials and tasks on both engines."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest
import tasks

from dream import engines
from dream.engines import BlockFinished, Engine, Message, TrialFinished, TrialRuns, TrialStopped
from dream.errors import ServiceError
from dream.records import Cluster, Trial
from dream.settings import Settings

TRIALS = tuple(Trial("chunks_with_overlap", f"llm-{n}", "embed") for n in range(3))
SECONDS = 120


@pytest.fixture(params=["in_process", pytest.param("ray", marks=pytest.mark.ray)])
def engine(request: pytest.FixtureRequest, no_environment: None) -> Iterator[Engine]:
    if request.param == "ray":
        request.getfixturevalue("on_ray")
        from ray import cloudpickle

        from dream.engines.on_ray import RayEngine

        cloudpickle.register_pickle_by_value(tasks)  # the cluster's workers do not have this folder
        yield RayEngine(Cluster("ray://test", nodes=1, cpus=2))
        cloudpickle.unregister_pickle_by_value(tasks)
        return
    settings = Settings.from_environment({})
    with engines.opened(engines.choose_engine("in_process", settings), settings) as opened:
        yield opened


def runs(function, finished=None, trials: Sequence[Trial] = TRIALS, at_once: int | None = None) -> TrialRuns:
    return TrialRuns("engines", trials, function, 3, finished or {}, at_once)


def test_every_block_and_result_is_received_once_in_the_order_of_its_trial(engine: Engine):
    received: list[Message] = []
    assert engine.run_trials(runs(tasks.trial_of_blocks, {TRIALS[1].id: tasks.evaluation("b")}), received.extend) == {}
    for trial in TRIALS:
        blocks = [each.block for each in received if isinstance(each, BlockFinished) and each.trial_id == trial.id]
        expected = "ac" if trial is TRIALS[1] else "abc"
        assert blocks == [tasks.evaluation(question) for question in expected]
        (result,) = [each.result for each in received if isinstance(each, TrialFinished) and each.result.trial == trial]
        assert result.evaluation == tasks.evaluation(*"abc")
        assert result.seconds == (trial is TRIALS[1])


def test_trials_that_were_started_early_run_as_the_others(engine: Engine):
    received: list[Message] = []
    early = runs(tasks.trial_of_blocks)
    engine.start_early(early)
    assert engine.run_trials(replace(early, to_stop=lambda: [TRIALS[2].id]), received.extend) == {}
    finished = {each.result.trial.id for each in received if isinstance(each, TrialFinished)}
    assert finished >= {TRIALS[0].id, TRIALS[1].id}
    assert finished | {each.trial_id for each in received if isinstance(each, TrialStopped)} == {t.id for t in TRIALS}


def test_other_trials_may_run_than_those_that_were_started_early(engine: Engine):
    received: list[Message] = []
    engine.start_early(runs(tasks.trial_of_blocks))
    assert engine.run_trials(runs(tasks.trial_of_blocks, trials=TRIALS[:1]), received.extend) == {}
    assert [each.result.trial for each in received if isinstance(each, TrialFinished)] == [TRIALS[0]]


def test_what_the_receiver_raises_ends_the_trials_and_is_raised(engine: Engine):
    function = tasks.trial_that_waits if engine.name == "in_process" else tasks.trial_of_blocks

    def receive(messages: Sequence[Message]) -> None:
        if messages:
            raise OSError("the disk is full")

    with pytest.raises(OSError, match="the disk is full"):
        engine.run_trials(runs(function), receive)


def test_tasks_run_elsewhere_with_sets_in_the_same_order(engine: Engine):
    futures = [engine.submit(tasks.order_of_a_set) for _ in range(3)]
    orders = [future.result(SECONDS) for future in futures]
    assert orders[0] == orders[1] == orders[2]
    assert sorted(orders[0]) == sorted(tasks.TEXTS)


def test_what_a_task_raises_is_raised_and_a_lost_process_is_a_service_error(engine: Engine):
    with pytest.raises(ValueError, match="no such number"):
        engine.submit(tasks.fail, "no such number").result(SECONDS)
    with pytest.raises(ServiceError, match=r"the (process|worker) of a task (ended|is gone)"):
        engine.submit(tasks.die).result(SECONDS)
