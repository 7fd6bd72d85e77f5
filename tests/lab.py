"""What the tests' fixtures hand out: servers with keys for them, and a whole set-up to run experiments in."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from model_servers import ModelServer

from dream.records import ExperimentResult
from dream.settings import Settings

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
    """A home with four sample PDFs, its own models behind the endpoint `x`, a Ray cluster and an MLflow server."""

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
