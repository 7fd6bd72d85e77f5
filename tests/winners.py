"""An experiment whose winner is exported, and `dream serve` with it as a process: fixtures, as a plugin of pytest."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from servers import HTTP

from dream.records import ExperimentResult, GoldenDataset, GoldenQuestion, Source
from dream.settings import Settings
from dream.storage import open_storage

if TYPE_CHECKING:
    from dream.serving.promotion import Promotion

READY_SECONDS = 90.0


@dataclass
class Served:
    """A process that serves a winner."""

    url: str
    token: str
    process: subprocess.Popen

    def post(self, path: str, body: Any, token: str | None = None, seconds: float = 60) -> httpx.Response:
        token = self.token if token is None else token
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return HTTP.post(f"{self.url}{path}", json=body, headers=headers, timeout=seconds)

    def get(self, path: str) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        return HTTP.get(f"{self.url}{path}", headers=headers)


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "dream.cli.main", *arguments]


def clean(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables of a command, with none of whoever runs the tests."""
    ours = ("DREAM_", "OPENAI_", "AWS_", "S3_", "RAY_ADDRESS", "MLFLOW_TRACKING_URI")
    own = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return {**own, "PYTHONUNBUFFERED": "1", **environment}


@contextmanager
def serving(
    winner: Path, environment: Mapping[str, str], options: Sequence[str] = (), *, until_ready: bool = True
) -> Iterator[Served]:
    """Serve a winner on a free port for the length of the block; SIGTERM ends it."""
    process = subprocess.Popen(
        command("serve", str(winner), "--port", "0", *options),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=clean(environment),
        cwd=winner.parent,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        served = Served(_told_url(process), environment["DREAM_SERVE_TOKEN"], process)
        if until_ready:
            _wait_until_ready(served)
        yield served
    finally:
        process.terminate()
        process.communicate(timeout=60)


def _told_url(process: subprocess.Popen) -> str:
    assert process.stdout is not None
    said = []
    for line in process.stdout:
        said.append(line)
        if line.startswith("serve: "):
            return line.removeprefix("serve: ").strip()
    raise AssertionError("".join(said))


def _wait_until_ready(served: Served) -> None:
    give_up = time.monotonic() + READY_SECONDS
    while served.process.poll() is None and time.monotonic() < give_up:
        if served.get("/readyz").is_success:
            return
        time.sleep(0.05)
    raise AssertionError(f"{served.url} is not ready; exit code {served.process.poll()}")


PLACES = (
    "Arven", "Bolm", "Cadria", "Dunholt", "Elsk", "Farrow", "Gimle", "Hasp", "Ivern", "Jarlo", "Kelda", "Lunt",
)  # fmt: skip
TOKEN = "a-token-of-the-tests-71fe"


@dataclass(frozen=True)
class Measured:
    """An experiment in process, in a home of its own. Its second trial ends its answers after two tokens."""

    environment: Mapping[str, str]
    settings: Settings
    experiment: ExperimentResult

    @property
    def good(self) -> str:
        return self.experiment.results[0].trial.id

    @property
    def bad(self) -> str:
        return self.experiment.results[1].trial.id

    def promotion(self, trial: str | None = None, replaces: "Promotion | None" = None) -> "Promotion":
        from dream.serving.export import promotion_from

        return promotion_from(self.experiment, self.settings, trial=trial or self.good, replaces=replaces)


@pytest.fixture(scope="session")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Measured:
    home = tmp_path_factory.mktemp("winner")
    return measure({"DREAM_HOME": str(home), "DREAM_ENGINE": "in_process", "DREAM_SERVE_TOKEN": TOKEN})


def measure(environment: Mapping[str, str]) -> Measured:
    """Write the documents and run the experiment, with the variables of whoever runs it."""
    from dream.experiments.run import run_experiment
    from dream.rag.search_space import SearchSpace

    settings = Settings.from_environment(environment)
    storage = open_storage(settings.documents_uri, settings)
    storage.ensure()
    questions = []
    for number, place in enumerate(PLACES, 11):
        fact = f"The tower of {place} is {number} metres high and was built of {place.lower()} oak."
        storage.write_bytes(f"{place}.txt", f"{fact} The market of {place} is held on Mondays.".encode())
        pair = (f"How high is the tower of {place}, and of what was it built?", fact)
        questions.append(
            GoldenQuestion(GoldenQuestion.make_id(*pair), *pair, (fact,), sources=(Source(f"{place}.txt"),))
        )
    space = SearchSpace(
        ["chunks_with_overlap"],
        ["offline/llm-large"],
        ["offline/embed-small"],
        {"chunks_with_overlap": {"top_k": [2], "max_tokens": [None, 2]}},
    )
    outcome = run_experiment(
        space,
        name="measured",
        golden_dataset=GoldenDataset(tuple(questions)),
        metrics=["answer_correctness", "recall"],
        settings=settings,
        show=None,
    )
    return Measured(environment, settings, outcome)


@pytest.fixture(scope="session")
def winner(measured: Measured, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of the better trial."""
    path = tmp_path_factory.mktemp("exported") / "winner.yaml"
    path.write_text(measured.promotion().to_yaml(), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def served(measured: Measured, winner: Path) -> Iterator[Served]:
    """`dream serve` with it, as a process."""
    with serving(winner, measured.environment) as process:
        yield process


@pytest.fixture(scope="session")
def worse_winner(measured: Measured, winner: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of the worse trial, which replaces the better one."""
    from dream.serving.promotion import read_promotion

    path = tmp_path_factory.mktemp("exported") / "winner.yaml"
    promotion = measured.promotion(measured.bad, replaces=read_promotion(winner))
    path.write_text(promotion.to_yaml(), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def worse_served(measured: Measured, worse_winner: Path) -> Iterator[Served]:
    """`dream serve` with that, as a process."""
    with serving(worse_winner, measured.environment) as process:
        yield process


@pytest.fixture(scope="session")
def winners(winner: Path, served: Served, worse_winner: Path, worse_served: Served) -> dict[str, Served]:
    """The processes, by the content of the file that each serves."""
    return {path.read_text(): process for path, process in ((winner, served), (worse_winner, worse_served))}
