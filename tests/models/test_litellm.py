"""LiteLLM's proxy between DREAM and the offline models: the same answers and scores as without it, each paid once."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from model_servers import ModelServer, free_port
from servers import running, wait_until_ready
from town import FACTS, GOLDEN

from dream.cli.doctor import examine
from dream.experiments.run import run_experiment
from dream.rag.search_space import SearchSpace
from dream.records import GoldenDataset, TrialResult
from dream.settings import Settings

PROXY_KEY = "sk-a-key-of-the-proxy-31fd"
START_SECONDS = 120
MODELS = ("llm-small", "llm-large", "embed-small", "embed-large", "judge")


@pytest.fixture(scope="module")
def litellm(_models: ModelServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a proxy before the offline models, which asks for a key of its own."""
    program = os.environ.get("LITELLM_BINARY") or shutil.which("litellm")
    if program is None:
        pytest.skip("no LiteLLM proxy: install litellm[proxy] in an environment of its own and set LITELLM_BINARY")
    rows = [
        f"  - model_name: {name}\n    litellm_params: "
        f"{{model: openai/{name}, api_base: {_models.base_url}, api_key: {_models.key}}}"
        for name in MODELS
    ]
    config = tmp_path_factory.mktemp("litellm") / "config.yaml"
    config.write_text("\n".join(["model_list:", *rows, "general_settings:", f"  master_key: {PROXY_KEY}", ""]))
    port = free_port()
    command = [program, "--config", str(config), "--host", "127.0.0.1", "--port", str(port), "--telemetry", "False"]
    with running(command, {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "NO_PROXY": "127.0.0.1"}) as process:
        url = f"http://127.0.0.1:{port}"
        wait_until_ready(f"{url}/health/readiness", process, START_SECONDS)
        yield f"{url}/v1"


@pytest.fixture
def documents(tmp_path: Path) -> Path:
    folder = tmp_path / "documents"
    folder.mkdir()
    (folder / "town.txt").write_text("\n\n".join(FACTS.values()))
    return folder


def settings(base_url: str, key: str, home: Path, documents: Path) -> Settings:
    return Settings.from_environment(
        {
            "DREAM_HOME": str(home),
            "DREAM_DOCUMENTS_URI": str(documents),
            "DREAM_ENDPOINT_X_BASE_URL": base_url,
            "DREAM_ENDPOINT_X_API_KEY": key,
            "DREAM_LLMS": "llm-small@x",
            "DREAM_EMBED_MODELS": "embed-small@x",
            "DREAM_JUDGE_LLM": "judge@x",
            "DREAM_JUDGE_EMBED_MODEL": "embed-large@x",
            "DREAM_ENGINE": "in_process",
        }
    )


def test_answers_and_scores_are_those_of_the_models_behind_it(
    litellm: str, model_server: ModelServer, no_environment: None, documents: Path, tmp_path: Path
):
    through = settings(litellm, PROXY_KEY, tmp_path / "through", documents)
    directly = settings(model_server.base_url, model_server.key, tmp_path / "directly", documents)
    space = SearchSpace(["chunks_with_overlap"], ["llm-small@x", "llm-large@x"], ["embed-small@x"])
    golden = GoldenDataset(tuple(GOLDEN[:3]), "memory://town")

    def run(chosen: Settings) -> tuple[TrialResult, ...]:
        model_server.reset()
        return run_experiment(space, name="town", golden_dataset=golden, settings=chosen, show=None).results

    expected, paid = run(directly), run(through)
    sent = model_server.counters()["by_path"]
    assert [result.failure for result in paid] == [None, None]
    assert [answers_and_scores(result) for result in paid] == [answers_and_scores(result) for result in expected]
    assert sum(row.sent for result in paid for row in result.usage if row.stage != "check") <= sum(sent.values())
    assert all(row.prompt_tokens > 0 for result in paid for row in result.usage if row.stage == "answer")


def answers_and_scores(result: TrialResult) -> list[tuple[object, ...]]:
    assert result.evaluation is not None
    answers = [(answer.question_id, answer.text, answer.prompt_tokens) for answer in result.evaluation.answers]
    return [*answers, *((score.question_id, score.metric, score.value) for score in result.evaluation.scores)]


def test_doctor_finds_it_healthy_and_says_what_it_answers_to_a_wrong_key(
    litellm: str, no_environment: None, documents: Path, tmp_path: Path
):
    def problem(key: str) -> str | None:
        findings = examine(settings(litellm, key, tmp_path, documents))
        return next(finding.problem for finding in findings if finding.part == "models")

    assert problem(PROXY_KEY) is None
    refused = problem("sk-another-key") or ""
    assert "No connected db" in refused  # what a proxy without a database says of a key that is not its own
    assert "sk-another-key" not in refused
