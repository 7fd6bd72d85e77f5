"""Progress: bars in a real terminal and a real notebook, lines elsewhere, and silence."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import threading

import nbformat
import pytest
from nbclient import NotebookClient

from dream.progress import Heartbeat, Lines, Reporter, never_silent, reporter_for


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


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


def test_show_is_a_function_a_reporter_or_none(capsys):
    lines: list[str] = []
    reporter_for(lines.append).line("to the function")
    assert lines == ["to the function"]
    mine = Reporter()
    assert reporter_for(mine) is mine
    silent = reporter_for(None)
    silent.line("nowhere")
    with silent.task("scoring", 1, "questions") as task:
        task.advance()
    assert capsys.readouterr() == ("", "")
    reporter_for(print).line("to a pipe")
    assert capsys.readouterr().out == "to a pipe\n"


PROGRAM = """
from dream.progress import reporter_for
reporter = reporter_for(print)
with reporter.task("embedding", None, "texts") as texts, reporter.task("scoring", 4, "questions") as task:
    for score in (0.5, 0.25):
        task.advance(answer_correctness=score, usd=1.5)
        texts.advance(100)
        reporter.line("a line with [brackets] at " + str(score))
"""


PROGRAM_WITH_TABLE = """
from dream.live_table import Column, LiveTable, Row
from dream.progress import reporter_for

done = [0] * 200

def table(most):
    names = [f"chunks_with_overlap + a-large-language-model + an-embedding-model (top_k={n})" for n in range(200)]
    rows = [Row(name, (f"{number}/4",), "waiting") for name, number in zip(names, done)]
    return LiveTable("trial", (Column("questions"),), tuple(rows[:most]), ("that is all",))

reporter = reporter_for(print)
with reporter.task("running trials", 800, "questions", table=table) as task:
    reporter.line("a line above")
    for trial in range(2):
        done[trial] = 4
        task.advance(4, answer_correctness=0.5)
"""


def shown_in_a_terminal(program: str, columns: int = 80, **variables: str) -> str:
    """All that a program writes to a terminal of 24 lines."""
    terminal, program_side = pty.openpty()
    fcntl.ioctl(program_side, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    removed = {"COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR"}
    environment = {name: value for name, value in os.environ.items() if name not in removed}
    environment |= {"TERM": "xterm-256color", **variables}
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=program_side, stderr=program_side, env=environment
    )
    os.close(program_side)
    shown = b""
    try:
        while chunk := os.read(terminal, 65536):
            shown += chunk
    except OSError:  # the program has closed its side
        pass
    os.close(terminal)
    assert process.wait(60) == 0
    return shown.decode()


def test_a_terminal_shows_bars_below_the_lines():
    text = shown_in_a_terminal(PROGRAM)
    assert "a line with [brackets] at 0.25\r\n" in text
    last = text.rpartition("a line with")[2]
    assert "embedding" in last and "200 texts" in last
    assert "scoring" in last and "2 of 4 questions" in last
    assert "answer_correctness 0.250, 1.50 USD" in last
    assert "━" in last


@pytest.mark.parametrize(("columns", "rows"), [(80, 9), (120, 20)])
def test_a_terminal_shows_the_table_above_the_bar_and_as_much_of_it_as_fits(columns: int, rows: int):
    text = shown_in_a_terminal(PROGRAM_WITH_TABLE, columns, NO_COLOR="1")
    frame = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", re.split(r"(?:\x1b\[1A\x1b\[2K)+", text)[-1]).splitlines()
    lines = [line.rstrip() for line in frame if line.strip()]
    assert len(lines) <= 23 and max(map(len, lines)) <= columns
    assert sum("chunks_with_overlap" in line for line in lines) == rows
    assert lines[-2] == "that is all" and lines[-1].startswith("running trials") and "8 of 800 questions" in lines[-1]
    assert "answer_correctness" not in text
    assert set(re.findall(r"\x1b\[[0-9;]*m", text)) <= {"\x1b[0m", "\x1b[1m", "\x1b[2m"}


def test_a_notebook_shows_a_table_in_one_place_and_keeps_it():
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(PROGRAM_WITH_TABLE)])
    NotebookClient(notebook, kernel_name="python3", timeout=60).execute()
    (table,) = [output.data for output in notebook.cells[0].outputs if output.output_type == "display_data"]
    assert table["text/html"].count("<tr") == 41 and "top_k=1)</td>" in table["text/html"]
    assert table["text/html"].endswith("</progress> 8 of 800 questions</div>")
    lines = table["text/plain"].splitlines()
    assert lines[0].split() == ["trial", "questions"] and lines[1].split()[-1] == "4/4"
    assert lines[-2:] == ["that is all", "running trials: 8 of 800 questions, answer_correctness 0.500"]


def test_a_notebook_keeps_the_final_state_without_times():
    cell = nbformat.v4.new_code_cell(PROGRAM)
    notebook = nbformat.v4.new_notebook(cells=[cell])
    NotebookClient(notebook, kernel_name="python3", timeout=60).execute()
    bars = [output.data for output in notebook.cells[0].outputs if output.output_type == "display_data"]
    assert [bar["text/plain"] for bar in bars] == [
        "embedding: 200 texts",
        "scoring: 2 of 4 questions, answer_correctness 0.250, 1.50 USD",
    ]
    assert '<progress style="width: 12em; vertical-align: middle" value="2" max="4">' in bars[1]["text/html"]
    assert 'value="200" max="200"' in bars[0]["text/html"]
    assert "left" not in bars[1]["text/html"].partition("</progress>")[2]
    lines = "".join(output.text for output in notebook.cells[0].outputs if output.output_type == "stream")
    assert lines.splitlines() == ["a line with [brackets] at 0.5", "a line with [brackets] at 0.25"]


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


def test_something_is_shown_from_time_to_time_while_a_block_lasts(capsys):
    with never_silent(0.1) as reporter:
        reporter.line("a headline")
        while "still working" not in (shown := capsys.readouterr().out):
            assert shown in ("a headline\n", "")
    assert not [thread for thread in threading.enumerate() if thread.name == "dream-heartbeat"]
