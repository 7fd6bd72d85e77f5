"""The command as a program: its commands, wrong command lines, Ctrl-C, completion, and how little it loads."""

import os
import signal
import socket
import subprocess
import sys

import pytest

from dream.cli.main import COMMANDS

PROGRAM = [sys.executable, "-m", "dream.cli.main"]


def test_help_lists_every_command_in_full(dream):
    done = dream("--help")
    assert done.code == 0
    lines = [line.split() for line in done.out.splitlines()]
    for command in COMMANDS:
        (line,) = [line for line in lines if line[:1] == [command.__name__]]
        assert line[-1].endswith("."), line
        assert "..." not in line[-1]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.__name__)
def test_every_command_explains_itself(dream, command):
    done = dream(command.__name__, "--help")
    assert done.code == 0
    assert done.out.startswith(f"Usage: dream {command.__name__} ")
    assert max(map(len, done.out.splitlines())) <= 100


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "dream: Missing command.\nSee 'dream --help'.\n"),
        (["fly"], "dream: No such command 'fly'.\nSee 'dream --help'.\n"),
        (["prepare"], "dream prepare: Missing argument 'SOURCE...'.\nSee 'dream prepare --help'.\n"),
        (["run", "--goldn", "x"], "dream run: No such option: --goldn"),
        (["run", "--judge-repeats", "many"], "dream run: Invalid value for '--judge-repeats': "),
        (["plan", "--strictness", "0"], "dream plan: Invalid value for '--strictness': "),
        (["track"], "dream track: Missing argument 'NAME'."),
        (["compare", "a", "b"], "dream compare: Got unexpected extra argument"),
    ],
)
def test_a_wrong_command_line_is_refused_with_2(dream, arguments, message):
    done = dream(*arguments)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(message)


def test_a_mistake_is_told_on_stderr_with_1(dream, monkeypatch):
    monkeypatch.setenv("DREAM_LLM", "gpt-4o")
    done = dream("plan")
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("dream plan: 1 mistake(s) in the settings:\n  - DREAM_LLM is not a setting of DREAM")


def test_ctrl_c_ends_with_130_and_says_what_is_kept(no_environment, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as never_answers:
        url = f"http://127.0.0.1:{never_answers.getsockname()[1]}/a.pdf"
        environment = {**os.environ, "DREAM_HOME": str(tmp_path)}
        command = subprocess.Popen([*PROGRAM, "prepare", url], env=environment, stderr=subprocess.PIPE, text=True)
        never_answers.accept()
        command.send_signal(signal.SIGINT)
        _, err = command.communicate(timeout=60)
    assert command.returncode == 130
    assert err == "dream prepare: stopped; what was finished is in storage\n"


@pytest.mark.parametrize(
    ("typed", "completions"),
    [
        ("dream tr", ["track"]),
        ("dream run --judge-repeat-", ["--judge-repeat-questions"]),
        ("dream run --metric faith", ["faithfulness"]),
    ],
)
def test_the_shell_completes_commands_options_and_metrics(typed, completions):
    variables = {"_DREAM_COMPLETE": "complete_bash", "COMP_WORDS": typed, "COMP_CWORD": str(len(typed.split()) - 1)}
    done = subprocess.run(PROGRAM, env={**os.environ, **variables}, capture_output=True, text=True, check=False)
    assert done.stdout.split() == completions


def test_help_and_completion_load_nothing_heavy():
    program = (
        "import sys; from dream.cli.main import main; main(['run', '--help'])\n"
        "heavy = {'ray', 'mlflow', 'ragas', 'llama_index', 'pandas', 'openai', 'boto3', 'rich', 'pydantic_settings'}\n"
        "sys.exit(str(heavy & set(sys.modules) or '') or 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
