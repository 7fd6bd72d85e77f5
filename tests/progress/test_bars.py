"""Progress as bars in a real terminal and a real notebook."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios

import nbformat
import pytest
from nbclient import NotebookClient

from dream.progress.bars import TerminalBars

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
from dream.progress.live_table import Column, LiveTable, Row
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


def test_a_finished_task_is_not_drawn_again(capsys):
    with TerminalBars().task("scoring", 2, "questions") as task:
        task.advance(2)
    assert "2 of 2 questions" in capsys.readouterr().out
    task.advance()
    task.finish()
    assert capsys.readouterr().out == ""
