"""Progress as lines: one from time to time, one at the end, and silence where a task is short."""

import threading

import pytest

from dream.progress import Heartbeat, Lines, Reporter


def test_a_long_task_shows_a_line_from_time_to_time_and_one_at_its_end(clock):
    lines: list[str] = []
    with Lines(lines.append, 10, clock).task("scoring", 4, "questions") as task:
        for score in (0.5, 0.75, 0.625, 0.7):
            clock.now += 6
            task.advance(answer_correctness=score, usd=score * 10)
    assert lines == [
        "scoring: 2 of 4 questions in 12 s, 12 s left, answer_correctness 0.750,\n  7.50 USD",
        "scoring: 4 of 4 questions in 24 s, answer_correctness 0.700, 7.00 USD",
    ]


def test_a_short_task_shows_no_line(clock):
    lines: list[str] = []
    with Lines(lines.append, 10, clock).task("scoring", 2, "questions") as task:
        clock.now += 9
        task.advance(2)
    assert lines == []


def test_a_short_task_shows_a_line_at_its_end_where_asked_for(clock):
    lines: list[str] = []
    with Lines(lines.append, 10, clock).task("scoring", 2, "questions", final_line=True) as task:
        clock.now += 9
        task.advance(2)
    assert lines == ["scoring: 2 of 2 questions in 9 s"]


def test_a_task_that_stands_still_says_so_from_time_to_time(clock):
    lines: list[str] = []
    with Lines(lines.append, 30, clock).task("scoring", 2, "questions") as task:
        for _ in range(60):
            clock.now += 1
            task.advance(0)
    assert lines == [f"scoring: 0 of 2 questions in {time}" for time in ("30 s", "1 min", "1 min")]


def test_a_complete_task_that_goes_on_says_so_from_time_to_time(clock):
    lines: list[str] = []
    with Lines(lines.append, 30, clock).task("scoring", 2, "questions", done=2) as task:
        for usd in (1, 2, 3):
            clock.now += 30
            task.advance(0, usd=usd)
    assert lines == [
        f"scoring: 2 of 2 questions in {time} USD" for time in ("1 min, 2.00", "2 min, 3.00", "2 min, 3.00")
    ]


def test_a_total_that_becomes_known_gives_a_time_left(clock):
    lines: list[str] = []
    with Lines(lines.append, 10, clock).task("embedding", None, "texts") as task:
        clock.now += 10
        task.advance(100)
        clock.now += 10
        task.total = 400
        task.advance(100)
    assert lines[:2] == ["embedding: 100 texts in 10 s", "embedding: 200 of 400 texts in 20 s, 20 s left"]


def test_steps_done_before_do_not_count_for_the_time_left(clock):
    task = Reporter().task("scoring", 100, "questions", done=90)
    task_of_clock = Lines([].append, 10, clock).task("scoring", 100, "questions", done=90)
    assert task.seconds_left is None
    clock.now += 5
    task_of_clock.advance()
    assert (task_of_clock.count, task_of_clock.seconds_left) == ("91 of 100 questions", 45)


def test_a_task_of_unknown_length_counts(clock):
    lines: list[str] = []
    with Lines(lines.append, 10, clock).task("embedding", None, "texts") as task:
        clock.now += 11
        task.advance(1500, usd=None)
    assert lines == ["embedding: 1,500 texts in 11 s, USD unknown"] * 2


def test_a_line_that_is_too_long_goes_on_in_the_next(clock):
    lines: list[str] = []
    with Lines(lines.append, 10, clock).task("running trials", 12, "trials") as task:
        clock.now += 60
        task.advance(3, answer_correctness=0.5, faithfulness=0.5, context_recall=0.5, best="hierarchical_automerging")
    assert "answer_correctness 0.500" in lines[0]
    assert "best hierarchical_automerging" in lines[0]
    assert max(map(len, lines[0].splitlines())) <= 79


def test_an_error_finishes_the_task_as_it_is(clock):
    lines: list[str] = []

    def read() -> None:
        with Lines(lines.append, 10, clock).task("reading", 3, "files") as task:
            clock.now += 20
            task.advance()
            raise ValueError("bad")

    with pytest.raises(ValueError, match="bad"):
        read()
    assert lines == ["reading: 1 of 3 files in 20 s, 40 s left", "reading: 1 of 3 files in 20 s"]


def test_many_threads_may_advance_one_task(clock):
    lines: list[str] = []
    reporter = Lines(lines.append, 10, clock)
    with reporter.task("scoring", 4000, "questions") as task:

        def work() -> None:
            for _ in range(500):
                task.advance()
                reporter.line("x")

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert task.count == "4,000 of 4,000 questions"
    assert lines == ["x"] * 4000


def test_a_heartbeat_is_shown_only_where_nothing_else_was(clock):
    lines: list[str] = []
    heartbeat = Heartbeat(Lines(lines.append, 4, clock), 4)

    def wait(seconds: float) -> None:
        clock.now += seconds
        heartbeat.beat()

    heartbeat.line("a headline")
    wait(3.9)
    assert lines == ["a headline"]
    wait(0.2)
    wait(4)
    assert lines[1:] == ["  still working, 4 s", "  still working, 8 s"]
    with heartbeat.task("scoring", 4, "questions") as task:
        for _ in range(3):
            wait(3)
            task.advance()
    assert lines[3:] == ["scoring: 2 of 4 questions in 6 s, 6 s left", "scoring: 3 of 4 questions in 9 s"]
    wait(4)
    assert lines[-1] == "  still working, 4 s"
