"""The reporters that a `show` argument stands for, and the one that is never silent."""

import threading

from dream.progress import Reporter, never_silent, reporter_for


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


def test_something_is_shown_from_time_to_time_while_a_block_lasts(capsys):
    with never_silent(0.1) as reporter:
        reporter.line("a headline")
        while "still working" not in (shown := capsys.readouterr().out):
            assert shown in ("a headline\n", "")
    assert not [thread for thread in threading.enumerate() if thread.name == "dream-heartbeat"]
