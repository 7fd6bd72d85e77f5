"""Ctrl-C during `dream run`: it says how to go on, sends nothing more, and reports no trial as failed."""

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from model_servers import ModelServer
from town import FACTS

pytestmark = pytest.mark.whole
SECONDS = 180


@pytest.fixture
def environment(model_server: ModelServer, no_environment: None, tmp_path: Path) -> dict[str, str]:
    """A project with a document and golden questions; its models are those of the server."""
    documents = tmp_path / "home" / "documents"
    documents.mkdir(parents=True)
    (documents / "town.txt").write_text("\n\n".join(FACTS.values()))
    with (tmp_path / "golden.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("question", "ground_truth"), *FACTS.items()])
    return {
        **os.environ,
        "DREAM_HOME": str(tmp_path / "home"),
        "OPENAI_BASE_URL": model_server.base_url,
        "OPENAI_API_KEY": model_server.key,
        "DREAM_LLMS": "llm-small",
        "DREAM_EMBED_MODELS": "embed-small",
        "DREAM_JUDGE_LLM": "judge",
        "DREAM_JUDGE_EMBED_MODEL": "embed-large",
    }


def started(environment: dict[str, str], folder: Path, engine: str) -> subprocess.Popen[str]:
    """`dream run` on the questions, with Ctrl-C in force as in a terminal."""
    options = ["--golden", "golden.csv", "--engine", engine, "--metric", "faithfulness", "--name", "stopped"]
    options += ["--query-engine", "chunks_with_overlap", "--query-engine", "sentence_window"]
    return subprocess.Popen(
        [sys.executable, "-m", "dream.cli.main", "run", *options],
        env=environment,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def until(condition) -> None:
    give_up = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("slow", "engine"), [("embedding", "in_process"), pytest.param("chat", "ray", marks=pytest.mark.ray)]
)
def test_ctrl_c_says_how_to_go_on_and_ends_the_calls(
    slow: str, engine: str, environment: dict[str, str], model_server: ModelServer, tmp_path: Path
):
    def calls() -> int:
        counted = model_server.counters()["by_path"]
        return counted.get("/v1/chat/completions" if slow == "chat" else "/v1/embeddings", 0)

    model_server.faults(**{f"{slow}_latency_ms": 1500})
    command = started(environment, tmp_path, engine)
    try:
        until(lambda: calls() > 2 or command.poll() is not None)  # two are checks
        command.send_signal(signal.SIGINT)
        out, err = command.communicate(timeout=SECONDS)
    finally:
        command.kill()
    assert command.returncode == 130, out + err
    assert "stopped was stopped; finished answers and scores are kept" in out
    assert "dream run --resume stopped" in out
    assert err == "dream run: stopped; what was finished is in storage\n"
    for wrong in ("Traceback", "FAILED", "worker", "cannot schedule"):
        assert wrong not in out
    made = calls()
    time.sleep(2)
    assert calls() == made
