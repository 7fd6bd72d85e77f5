"""`dream demo` from the command line, in an environment full of settings, and from a wheel outside the checkout."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from lab import REPOSITORY

from dream.experiments import load_experiment
from dream.settings import Settings

NOWHERE = "127.0.0.1:9"
# A shell full of settings; each of them would end the demo, or show in its results.
HOSTILE = {
    "OPENAI_API_KEY": "a-key-that-must-not-be-used",
    "OPENAI_BASE_URL": f"http://{NOWHERE}/v1",
    "RAY_ADDRESS": f"ray://{NOWHERE}",
    "S3_ENDPOINT_URL": f"http://{NOWHERE}",
    "MLFLOW_TRACKING_URI": f"http://{NOWHERE}",
    "DREAM_DOCUMENTS_URI": "s3://elsewhere",
    "DREAM_EXPERIMENTS_URI": "s3://elsewhere",
    "DREAM_LLMS": "gpt-4o",
    "DREAM_JUDGE_LLM": "gpt-4o",
    "DREAM_ENGINE": "ray",
    "DREAM_BUDGET_CALLS": "1",
}
STEPS = ["[1 of 4]", "[2 of 4]", "[3 of 4]", "[4 of 4]"]


def experiments_in(home: Path) -> list[str]:
    return sorted(path.name for path in (home / "experiments").iterdir() if path.is_dir())


def test_a_folder_with_documents_of_others_is_refused(dream, tmp_path):
    (tmp_path / "mine" / "documents").mkdir(parents=True)
    (tmp_path / "mine" / "documents" / "contract.txt").write_text("Of one and another.")
    done = dream("demo", "mine")
    assert done.code == 1
    assert f"{tmp_path}/mine/documents" in done.err and "such as contract.txt" in done.err
    assert "dream demo dream-demo" in done.err
    assert os.listdir(tmp_path / "mine") == ["documents"]


def test_a_file_in_place_of_the_folder_is_refused(dream, tmp_path):
    (tmp_path / "mine").write_text("")
    done = dream("demo", "mine")
    assert (done.code, done.out) == (1, "")
    assert done.err == "dream demo: mine is a file: name a folder, such as dream demo dream-demo\n"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from what the image copies, so that nothing of an earlier build in the checkout gets into it."""
    folder = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, folder)
    left_out = shutil.ignore_patterns("__pycache__")
    shutil.copytree(REPOSITORY / "dream", folder / "dream", symlinks=True, ignore=left_out)
    shutil.copytree(REPOSITORY / "notebooks", folder / "notebooks", ignore=left_out)
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "--wheel-dir", folder / "wheels", folder], check=True, env=outside_the_checkout())
    (built,) = (folder / "wheels").iterdir()
    return built


def outside_the_checkout() -> dict[str, str]:
    """This environment without a path to the checkout, which an earlier PYTHONPATH may be."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


@pytest.mark.whole
def test_the_wheel_holds_every_file_of_the_package(wheel: Path):
    held = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("dream/")}
    package = REPOSITORY / "dream"
    files = {path for path in package.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    samples = set((package / "sample_documents").iterdir())  # `rglob` does not follow the link
    assert held == {path.relative_to(REPOSITORY).as_posix() for path in files | samples}
    assert len([name for name in held if name.endswith(".pdf")]) == 9


@pytest.mark.whole
def test_the_demo_runs_twice_first_from_the_wheel_whatever_the_environment_says(
    wheel: Path, tmp_path: Path, dream, monkeypatch: pytest.MonkeyPatch
):
    site, work = tmp_path / "site", tmp_path / "work"
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", site, wheel]
    subprocess.run(install, check=True, env=outside_the_checkout())
    work.mkdir()
    (work / ".env").write_text(f"DREAM_CACHE_URI=s3://elsewhere\nRAY_DASHBOARD_ADDRESS=http://{NOWHERE}\n")
    place, *first = demo(site, work)
    assert json.loads(place) == str(site / "dream" / "__init__.py")
    home = work / "dream-demo"
    assert [line[:8] for line in first if line.startswith("[")] == STEPS
    assert "9 files, 9 of them new" in "\n".join(first)
    assert f"mlflow server --workers 1 --backend-store-uri sqlite:///{home}/mlflow.db" in "\n".join(first)
    assert first[0].endswith("Their scores say nothing about a real LLM.")
    report = (home / "report.html").read_text(encoding="utf-8")
    assert report.startswith("<!DOCTYPE html>") and len(report) > 1_000_000
    assert (home / "mlflow.db").stat().st_size > 0
    (name,) = experiments_in(home)
    experiment = load_experiment(name, Settings.from_environment({"DREAM_HOME": str(home)}))
    assert [result.error for result in experiment.results] == [None] * 12
    assert experiment.manifest.offline and len(experiment.manifest.questions) == 3
    assert sorted(os.listdir(work)) == [".env", "dream-demo"]
    for variable, value in HOSTILE.items():
        monkeypatch.setenv(variable, value)
    monkeypatch.chdir(work)
    again = dream("demo", "--questions", "3")
    assert again.code == 0, again.out[-3000:] + again.err[-3000:]
    assert "9 files, 0 of them new" in again.out
    assert len(experiments_in(home)) == 2


def demo(site: Path, folder: Path) -> list[str]:
    """The lines of `dream demo` in a folder, by the package in `site`; the first is where that is."""
    where = "import dream, json, dream.cli.main as m, sys; print(json.dumps(dream.__file__)); "
    program = [sys.executable, "-P", "-c", f"{where}sys.exit(m.main(sys.argv[1:]))", "demo", "--questions", "3"]
    environment = {**outside_the_checkout(), **HOSTILE, "PYTHONPATH": str(site)}
    done = subprocess.run(
        program, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout.splitlines()
