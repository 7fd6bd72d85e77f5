"""Parameters of a workflow that cannot be right are refused by the step that plans it, before anything is spent."""

import importlib.util
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from k8s_objects import K8S

from dream.experiments.store import save_manifest
from dream.golden import save_golden_dataset
from dream.records import GoldenDataset, GoldenQuestion, Manifest
from dream.settings import Settings
from dream.storage import open_storage

TEMPLATE = yaml.safe_load((K8S / "workflows/template.yaml").read_text(encoding="utf-8"))["spec"]
Check = Callable[..., int | str]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two golden datasets, and for each of them an experiment that was asked its questions."""
    home = tmp_path_factory.mktemp("home")
    settings = Settings.from_environment({"DREAM_HOME": str(home)})
    storage = open_storage(settings.experiments_uri, settings)
    storage.ensure()
    for golden, experiment in (("samples", "earlier"), ("others", "elsewhere")):
        questions = (GoldenQuestion(str(n), f"What of {golden} {n}?", "yes") for n in range(3))
        dataset = save_golden_dataset(GoldenDataset(tuple(questions)), golden, settings)
        save_manifest(storage, experiment, Manifest(experiment, dataset, ("answer_correctness",)))
    return home


@pytest.fixture
def check(home: Path, monkeypatch: pytest.MonkeyPatch) -> Check:
    """The step's program with the template's defaults and other values: its exit code, or what it says is wrong."""
    spec = importlib.util.spec_from_file_location("parameters", K8S / "workflows/parameters.py")
    program = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(program)
    for name in [name for name in os.environ if name.startswith("DREAM_")]:
        monkeypatch.delenv(name)
    parameters = {one["name"]: one["value"] for one in TEMPLATE["arguments"]["parameters"]}
    assert set(parameters) == set(program.KNOWN)
    variables = {name.upper().replace("-", "_"): value for name, value in parameters.items()}
    (step,) = (one for one in TEMPLATE["templates"] if one["name"] == "plan")
    passed_on = {one["name"] for one in step["container"]["env"]}

    def run(**given: str) -> int | str:
        everything = [{"name": name, "value": value} for name, value in parameters.items()]
        own = {"EXPERIMENT": "wf-1", "PARAMETERS": json.dumps(everything)}
        for name, value in (variables | own | given).items():
            if name in passed_on:
                monkeypatch.setenv(name, value)
        monkeypatch.setenv("DREAM_HOME", str(home))
        with pytest.raises(SystemExit) as ended:
            program.main()
        return ended.value.code

    return run


def test_a_golden_dataset_is_there_or_has_to_be_made(check: Check):
    assert check() == 0
    assert check(GOLDEN="not-made-yet") == 3


def test_a_baseline_with_the_same_questions_is_taken(check: Check):
    assert check(BASELINE="earlier") == 0


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"EXPERIMENT": "my experiment"}, "experiment = 'my experiment': use letters, digits, '.', '_' and '-'"),
        ({"GOLDEN": "../samples"}, "golden = '../samples': use letters"),
        ({"QUESTIONS": "30x"}, "questions = '30x': give a whole number from 1 on, such as 30"),
        ({"QUESTIONS": "0"}, "questions = '0'"),
        ({"MARGIN": "0,02"}, "margin = '0,02': give a number from 0 to below 1, such as 0.02"),
        ({"MARGIN": "2"}, "margin = '2'"),
        ({"METRICS": "faithfulness answer_corectness"}, "metrics: 'answer_corectness' is unknown; there are faithf"),
        ({"METRICS": "faithfulness"}, "rank-by = 'answer_correctness' is not among the metrics that are scored: faith"),
        ({"BASELINE": "earlyer"}, "no experiment 'earlyer'"),
        ({"BASELINE": "elsewhere"}, "'elsewhere' was asked other questions than those of golden = 'samples'"),
        ({"BASELINE": "earlier", "GOLDEN": "new"}, "'earlier' was asked other questions than those of golden = 'new'"),
        ({"BASELINE": "earlier", "RANK_BY": "faithfulness"}, "'earlier' has no scores of faithfulness"),
        ({"PARAMETERS": '[{"name": "llm", "value": "gpt-4o"}]'}, "there is no parameter 'llm': 'llms'?"),
        ({"PARAMETERS": '[{"name": "top_k", "value": "3"}]'}, "there is no parameter 'top_k': experiment, sources, "),
        ({"DREAM_ENDPONT_VLLM_BASE_URL": "http://vllm:8000/v1"}, "DREAM_ENDPONT_VLLM_BASE_URL"),
    ],
)
def test_a_wrong_value_is_refused_in_words_that_name_it(
    check: Check, monkeypatch: pytest.MonkeyPatch, given: dict[str, str], said: str
):
    for name in [name for name in given if name.startswith("DREAM_")]:  # of a ConfigMap
        monkeypatch.setenv(name, given[name])
    assert said in str(check(**given))


def test_all_mistakes_are_told_at_once(check: Check):
    told = str(check(EXPERIMENT="a b", QUESTIONS="many", MARGIN="-1", BASELINE="nobody")).splitlines()
    assert [line.split()[1] for line in told[1:]] == ["experiment", "questions", "margin", "no"]
