"""`dream cache`, `dream doctor` and `dream offline` from the command line."""

import json
import os
import signal
import subprocess
import sys

import httpx
from lab import Ran


def test_an_empty_cache_is_shown_as_empty(dream, tmp_path):
    done = dream("cache")
    assert (done.code, done.out, done.err) == (0, f"{tmp_path}/home/cache: 0.0 MB\n", "")


def test_the_cache_is_shown_by_model_and_emptied_by_name(dream_in_lab, small_experiment: Ran):
    done = dream_in_lab("cache", "--model", "llm-small")
    assert done.code == 0
    lines = done.out.splitlines()[1:]
    assert lines
    assert all("llm-small" in line and " entries " in line for line in lines)
    kept = dream_in_lab("cache", "--empty", "--model", "no-such-model")
    assert kept.out.endswith(": 0.0 MB freed\n")
    assert dream_in_lab("cache", "--empty", "--older-than-days", "1").out.endswith(": 0.0 MB freed\n")
    assert dream_in_lab("cache", "--model", "llm-small").out == done.out


def test_texts_of_documents_are_shown_and_emptied_apart_from_models(dream, tmp_path):
    (tmp_path / "note.txt").write_text("A note on honey.")
    assert dream("prepare", str(tmp_path / "note.txt")).code == 0
    shown = dream("cache").out.splitlines()
    assert [line.split("  ")[1] for line in shown[1:]] == ["texts of documents"]
    assert " 1 entries " in shown[1]
    assert dream("cache", "--empty", "--model", "some-model").out.endswith(": 0.0 MB freed\n")
    assert dream("cache", "--model", "texts").out.splitlines() == shown
    assert dream("cache", "--empty").code == 0
    assert dream("cache").out == f"{tmp_path}/home/cache: 0.0 MB\n"


def test_doctor_finds_a_working_lab_healthy(dream_in_lab, ray_cluster, monkeypatch):
    monkeypatch.delenv("DREAM_ENGINE")
    for name, value in ray_cluster.environment().items():
        monkeypatch.setenv(name, value)
    done = dream_in_lab("doctor")
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert {line[:5] for line in lines} == {"ok   "}
    parts = ["Python", "documents", "golden datasets", "experiments", "cache", "MLflow", "engine", "models", "judge"]
    assert [line[5:22].strip() for line in lines] == [*parts, "generator"]


def test_offline_serves_models_until_ctrl_c(no_environment):
    command = subprocess.Popen(
        [sys.executable, "-m", "dream.cli.main", "offline", "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert command.stdout is not None
    banner = [command.stdout.readline() for _ in range(3)]
    assert banner[0].startswith("Offline models are in use")
    base_url = json.loads(next(line for line in command.stdout if line.startswith("{")))["base_url"]
    assert httpx.get(f"{base_url}/models", trust_env=False).is_success
    command.send_signal(signal.SIGINT)
    _, err = command.communicate(timeout=60)
    assert command.returncode == 130
    assert err == "dream offline: stopped; what was finished is in storage\n"
