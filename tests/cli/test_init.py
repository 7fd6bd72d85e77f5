"""`dream init` from the command line; what it writes is read, and run to its end with offline models."""

import ast
import json
import os
import re
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import nbformat
import pytest
import yaml
from dotenv import dotenv_values
from jsonschema_rs import Draft202012Validator
from notebook_outputs import outside_settings_removed, parameters_cell, run

from dream.cli.init import FILES
from dream.experiments import read_study
from dream.rag import RAG_METHODS
from dream.rag.search_space import DEFAULT_METHODS
from dream.settings import KNOWN_VARIABLES, Settings

NAMES = {
    ".env", ".gitignore", "README.md", "documents/.gitkeep", "study.py", "study.ipynb", "study.yaml",
    "study.schema.json", "winner.schema.json",
}  # fmt: skip
# A page about a place that does not exist, long enough to ask about.
PAGE = """# The harbour of Vellmar

The harbour of Vellmar was built in 1874 by the engineer Ida Brandt. Its outer mole is 640 metres long and protects the
basin from the western swell. In 1921 a storm broke the mole at its northern end, and the repair took three years.

The lighthouse at the head of the mole is 31 metres high. Its lamp was lit with oil until 1938, when an electric lamp of
1,000 watts replaced it. The light is seen from 18 nautical miles away. The keeper's house beside it has been a museum
of navigation since 1987, and shows 214 instruments, among them the sextant of Ida Brandt.

Every May the fishing boats of Vellmar leave for the herring banks, which lie 40 miles to the north. In 2019 the fleet
counted 23 boats, and landed 5,200 tonnes of herring. The catch is sold in the auction hall at six in the morning.
"""


@pytest.fixture
def project(dream, tmp_path: Path) -> Path:
    """A project with one document of its own."""
    done = dream("init", "my-study")
    assert (done.code, done.err) == (0, "")
    (tmp_path / "my-study" / "documents" / "harbour.md").write_text(PAGE)
    return tmp_path / "my-study"


def environment() -> dict[str, str]:
    """No settings but those of the project's own .env."""
    return outside_settings_removed()


def test_a_project_is_written_and_told(dream, tmp_path):
    done = dream("init", "a/my-study")
    assert (done.code, done.err) == (0, "")
    root = tmp_path / "a" / "my-study"
    assert {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()} == NAMES
    assert (root / ".dream").is_dir()
    for name in (".env", ".gitignore", "documents/", "study.py", "study.ipynb"):
        assert re.search(rf"^  {re.escape(name)} ", done.out, re.MULTILINE)
    assert "put your documents into a/my-study/documents" in done.out


def test_nothing_written_names_the_folder_or_this_machine(project):
    for name in NAMES:
        text = (project / name).read_text(encoding="utf-8")
        assert "my-study" not in text
        assert not re.search(r"(^|[\s\"'=(])/(home|root|tmp|usr|Users|work)/", text)


def test_files_that_are_there_are_listed_and_nothing_is_written(dream, tmp_path):
    root = tmp_path / "mine"
    root.mkdir()
    (root / "study.py").write_text("mine")
    (root / ".env").write_text("OPENAI_API_KEY=mine")
    done = dream("init", "mine")
    assert (done.code, done.out) == (1, "")
    assert done.err == (
        "dream init: mine already has 2 of the files; nothing was written. Move them, or name another folder:\n"
        "  - .env\n  - study.py\n"
    )
    assert sorted(os.listdir(root)) == [".env", "study.py"]
    assert (root / "study.py").read_text() == "mine"


def test_other_files_in_the_folder_stay(dream, tmp_path):
    (tmp_path / "documents").mkdir()
    (tmp_path / "documents" / "a.txt").write_text("mine")
    assert dream("init", ".").code == 0
    assert (tmp_path / "documents" / "a.txt").read_text() == "mine"


def test_a_file_in_place_of_the_folder_is_refused(dream, tmp_path):
    (tmp_path / "mine").write_text("")
    done = dream("init", "mine")
    assert (done.code, done.out) == (1, "")
    assert done.err == "dream init: mine is a file: name a folder, such as dream init my-study\n"


def test_the_sample_documents_are_put_into_it_where_asked_for(dream, tmp_path):
    assert dream("init", "mine", "--samples").code == 0
    assert len(list((tmp_path / "mine" / "documents").glob("*.pdf"))) == 9


def test_every_template_is_used():
    templates = {path.name for path in (files("dream.cli") / "templates").iterdir()}
    assert {template for _, template, _ in FILES if template} == templates
    assert {name for name, _, _ in FILES} == NAMES


def test_the_env_file_sets_nothing_explains_every_setting_and_each_value_is_valid(project):
    text = (project / ".env").read_text(encoding="utf-8")
    assert dotenv_values(project / ".env") == {}
    assert Settings.from_environment({}).offline
    values = dict(line[1:].split("=", 1) for line in text.splitlines() if re.match(r"#[A-Z]", line) and "=" in line)
    assert set(KNOWN_VARIABLES) <= set(values)
    assert {"OPENAI_API_KEY", "OPENAI_BASE_URL", "RAY_ADDRESS", "MLFLOW_TRACKING_URI", "S3_ENDPOINT_URL"} <= set(values)
    settings = Settings.from_environment(values)
    assert [endpoint.name for endpoint in settings.endpoints] == ["openai", "vllm"]
    assert settings.budget.usd == 5
    defaults = Settings.from_environment({"OPENAI_API_KEY": "x"})
    assert (settings.llms, settings.embed_models) == (defaults.llms, defaults.embed_models)
    assert (settings.judge_llm, settings.generator_llm) == (defaults.judge_llm, defaults.generator_llm)


def test_the_study_file_is_valid_by_its_schema_and_reads_to_trials(project):
    schema = json.loads((project / "study.schema.json").read_text(encoding="utf-8"))
    Draft202012Validator(schema).validate(yaml.safe_load((project / "study.yaml").read_text()))
    study = read_study(project / "study.yaml")
    assert len(study.spec(Settings.from_environment({})).search_space.trials()) == (3 + 1 + 1) * 4


def test_git_leaves_keys_and_results_out(project):
    subprocess.run(["git", "init", "--quiet", project], check=True)
    shown = subprocess.run(
        ["git", "-C", project, "status", "--short", "--untracked-files=all"], capture_output=True, text=True, check=True
    )
    untracked = {line.removeprefix("?? ") for line in shown.stdout.splitlines()}
    assert untracked == NAMES - {".env"} | {"documents/harbour.md"}


def imports_of(source: str) -> set[str]:
    nodes = list(ast.walk(ast.parse(source)))
    modules = {node.module for node in nodes if isinstance(node, ast.ImportFrom)}
    return modules | {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}


def test_script_and_notebook_import_only_from_dream(project):
    notebook = nbformat.read(project / "study.ipynb", as_version=4)
    nbformat.validate(notebook)
    assert parameters_cell(notebook).source
    sources = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    for source in (*sources, (project / "study.py").read_text(encoding="utf-8")):
        assert all(name.split(".")[0] == "dream" for name in imports_of(source) - {"sys"})
    assert [cell.get("outputs") for cell in notebook.cells if cell.cell_type == "code"] == [[]] * len(sources)


def test_the_script_spells_out_every_method_with_its_defaults(project):
    tree = ast.parse((project / "study.py").read_text(encoding="utf-8"))
    values = {
        node.targets[0].id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }
    assert ast.literal_eval(values["METHODS"]) == list(DEFAULT_METHODS)
    spelled = {name: method.defaults for name, method in RAG_METHODS.items() if name in DEFAULT_METHODS}
    tried = ast.literal_eval(values["PARAMETERS"])
    assert {name: {key: value for key, (value,) in of.items()} for name, of in tried.items()} == spelled


@pytest.mark.whole
def test_the_script_runs_to_the_report_and_keeps_its_questions(project):
    script = project / "study.py"
    smaller = {
        "N_QUESTIONS = 30": "N_QUESTIONS = 2",
        "LLMS = settings.llms ": "LLMS = settings.llms[:1] ",
        "EMBED_MODELS = settings.embed_models ": "EMBED_MODELS = settings.embed_models[:1] ",
    }
    for written, changed in smaller.items():
        assert script.read_text().count(written) == 1
        script.write_text(script.read_text().replace(written, changed))
    command = [sys.executable, "study.py"]
    options = {"cwd": project, "env": environment(), "capture_output": True, "text": True, "check": False}
    asked = subprocess.run(command, input="no\n", timeout=600, **options)
    assert asked.returncode == 1
    assert "3 trials x 2 questions" in asked.stdout and "Run it? [y/N]" in asked.stdout
    assert asked.stderr.endswith("Nothing was run.\n")
    assert not (project / ".dream" / "experiments").exists() or not os.listdir(project / ".dream" / "experiments")
    done = subprocess.run([*command, "--yes"], timeout=600, **options)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "generating questions" not in done.stdout
    assert "trial 3 of 3" in done.stdout and "Offline models" in done.stdout
    assert (project / "report.html").stat().st_size > 1_000_000
    assert (project / ".dream" / "golden-datasets" / "golden.csv").exists()


@pytest.mark.whole
def test_the_notebook_runs_from_top_to_bottom(project):
    notebook = run("study", project, environment(), 'n_questions = 2\nmethods = ["chunks_with_overlap"]')
    texts = "".join(str(cell.outputs) for cell in notebook.cells if cell.cell_type == "code")
    assert "4 trials; judge: offline/judge" in texts
    assert "4 trials x 2 questions" in texts and "say nothing about a real LLM" in texts
    assert (project / "report.html").stat().st_size > 1_000_000
