"""An experiment whose winner is exported and served: twelve documents, a question about each."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from winners import Served, serving

from dream.experiments.run import run_experiment
from dream.rag.search_space import SearchSpace
from dream.records import ExperimentResult, GoldenDataset, GoldenQuestion, Source
from dream.serving.export import promotion_from
from dream.serving.promotion import Promotion
from dream.settings import Settings
from dream.storage import open_storage

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

    def promotion(self, trial: str | None = None, replaces: Promotion | None = None) -> Promotion:
        return promotion_from(self.experiment, self.settings, trial=trial or self.good, replaces=replaces)


@pytest.fixture(scope="session")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Measured:
    home = tmp_path_factory.mktemp("winner")
    environment = {"DREAM_HOME": str(home), "DREAM_ENGINE": "in_process", "DREAM_SERVE_TOKEN": TOKEN}
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
