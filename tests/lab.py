"""What the tests' fixtures hand out: servers with keys for them, and a whole set-up to run experiments in."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from model_servers import ModelServer, offline_models

from dream.experiments.run import run_experiment
from dream.rag.search_space import SearchSpace
from dream.records import ExperimentResult, GoldenDataset
from dream.settings import Settings
from dream.storage import open_storage

REPOSITORY = Path(__file__).resolve().parents[1]
LAB_KEY = "a-key-that-must-not-be-found-5d1c"
LAB_DOCUMENTS = (
    "bee health survey.pdf",
    "flood-salvage-and-freeze-drying.pdf",
    "geothermal-plant-handbook.pdf",
    "tidal-array-operations.pdf",
)


@dataclass(frozen=True)
class S3Server:
    """A server and a pair of keys for it."""

    url: str
    access_key_id: str
    secret_access_key: str

    def settings(self, **changes: str) -> Settings:
        """The settings that reach the server, with some variables changed; an empty one counts as not set."""
        environment = {
            "S3_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": self.access_key_id,
            "AWS_SECRET_ACCESS_KEY": self.secret_access_key,
        }
        return Settings.from_environment({**environment, **changes})


@dataclass(frozen=True)
class MlflowServer:
    """A server and the folder in which it keeps everything."""

    url: str
    folder: Path


@dataclass(frozen=True)
class Lab:
    """A home with four sample PDFs, its own models behind the endpoint `x`, an engine and an MLflow server."""

    home: Path
    environment: Mapping[str, str]
    models: ModelServer
    mlflow: MlflowServer

    @property
    def settings(self) -> Settings:
        return self.changed()

    def changed(self, **changes: str) -> Settings:
        """The settings with some variables changed; an empty one counts as not set."""
        return Settings.from_environment({**self.environment, **changes})


@dataclass(frozen=True)
class Ran:
    """A finished experiment, with the lines that it showed."""

    outcome: ExperimentResult
    lines: Sequence[str]


@contextmanager
def opened_lab(home: Path, mlflow: MlflowServer, engine: Mapping[str, str]) -> Iterator[Lab]:
    """A lab in a folder, on the engine that the variables `engine` name."""
    (home / "documents").mkdir()
    for name in LAB_DOCUMENTS:
        shutil.copy(REPOSITORY / "notebooks/sample_documents" / name, home / "documents")
    with offline_models(LAB_KEY) as models:
        environment = {**environment_of(home, models, mlflow.url), **engine}
        yield Lab(home, environment, models, mlflow)


def environment_of(home: str | Path, models: ModelServer, mlflow: str) -> dict[str, str]:
    """The variables of a home whose models are behind the endpoint `x`."""
    return {
        "DREAM_HOME": str(home),
        "DREAM_ENDPOINT_X_BASE_URL": models.base_url,
        "DREAM_ENDPOINT_X_API_KEY": models.key,
        "DREAM_LLMS": "llm-small@x",
        "DREAM_EMBED_MODELS": "embed-small@x",
        "DREAM_JUDGE_LLM": "judge@x",
        "DREAM_JUDGE_EMBED_MODEL": "embed-large@x",
        "MLFLOW_TRACKING_URI": mlflow,
    }


def small_run(lab: Lab, golden: GoldenDataset) -> Ran:
    """The experiment `small`: two trials of the first three questions, all paid, whatever was in the cache before."""
    cache = open_storage(lab.settings.cache_uri, lab.settings)
    for folder in ("answers/", "vectors/", "indexes/"):
        for kept in cache.list(folder):
            cache.delete(kept.key)
    lines: list[str] = []
    space = SearchSpace(["chunks_with_overlap", "hierarchical_automerging"], ["llm-small@x"], ["embed-small@x"])
    three = GoldenDataset(golden.questions[:3], golden.uri)
    outcome = run_experiment(space, name="small", golden_dataset=three, settings=lab.settings, show=lines.append)
    return Ran(outcome, lines)
