"""The checks of `dream doctor`: a healthy part is ok, and each kind of problem says what to do, without a secret."""

from pathlib import Path

import pytest
from model_servers import ModelServer, free_port

from dream.cli.doctor import Finding, examine
from dream.settings import Settings

SECRET = "not-the-key-91c2"


def test_a_finding_is_a_line_and_its_problem_follows():
    assert str(Finding("cache", "s3://cache")) == "ok   cache            s3://cache"
    assert str(Finding("MLflow", "http://a", "down:\n  - start it")) == (
        "BAD  MLflow           http://a\n     down:\n       - start it"
    )


@pytest.fixture(scope="module")
def problems(_models: ModelServer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str | None]:
    """The problem of each part where nearly everything is wrong."""
    home: Path = tmp_path_factory.mktemp("home")
    (home / "a-file").write_text("x")
    settings = Settings.from_environment(
        {
            "DREAM_HOME": str(home),
            "DREAM_DOCUMENTS_URI": str(home / "a-file"),
            "DREAM_GOLDEN_DATASETS_URI": "s3://golden",
            "S3_ENDPOINT_URL": f"http://127.0.0.1:{free_port()}",
            "AWS_ACCESS_KEY_ID": "id",
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "DREAM_EXPERIMENTS_URI": str(home / "experiments"),
            "DREAM_CACHE_URI": str(home / "cache"),
            "MLFLOW_TRACKING_URI": f"http://me:{SECRET}@127.0.0.1:{free_port()}",
            "RAY_ADDRESS": f"ray://127.0.0.1:{free_port()}",
            "DREAM_ENDPOINT_X_BASE_URL": _models.base_url,
            "DREAM_ENDPOINT_X_API_KEY": SECRET,
            "DREAM_ENDPOINT_DOWN_BASE_URL": f"http://127.0.0.1:{free_port()}/v1",
            "DREAM_ENDPOINT_DOWN_TIMEOUT_SECONDS": "1",
            "DREAM_LLMS": "llm-small@x",
            "DREAM_EMBED_MODELS": "embed-small@x",
            "DREAM_JUDGE_LLM": "judge@nowhere",
            "DREAM_JUDGE_EMBED_MODEL": "embed-large@x",
            "DREAM_GENERATOR_LLM": "writer@down",
        }
    )
    findings = list(examine(settings))
    assert SECRET not in "\n".join(map(str, findings))
    return {finding.part: finding.problem for finding in findings}


@pytest.mark.whole
def test_every_part_is_checked_even_after_a_problem(problems):
    parts = ["Python", "documents", "golden datasets", "experiments", "cache", "MLflow", "engine", "models", "judge"]
    assert list(problems) == [*parts, "generator"]
    assert [part for part, problem in problems.items() if problem is None] == ["Python", "experiments", "cache"]


@pytest.mark.whole
@pytest.mark.parametrize(
    ("part", "problem"),
    [
        ("documents", "is a file, not a folder; choose a folder"),
        ("golden datasets", "Check that the server runs."),
        ("MLflow", "MLflow"),
        ("engine", "nothing answers"),
        ("models", "llm-small@x"),
        ("judge", "nowhere"),
        ("generator", "writer@down"),
    ],
)
def test_a_problem_says_what_to_do(problems, part, problem):
    assert problem in problems[part]
