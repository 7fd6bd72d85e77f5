"""The structure of the package: wings import only wings below them, `import dream` is light and quiet, and each module
has a test file of its name."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import dream

PACKAGE = Path(dream.__file__).parent
# From the bottom to the top. What lies in dream/ itself, and the ground, are below them all. `offline` is a program of
# its own that the gateway starts; only the gateway and the command that serves it know it.
GROUND = ("records", "metrics", "runtime", "settings", "progress")
WINGS = (
    "engines",
    "storage",
    "documents",
    "models",
    "indexes",
    "golden",
    "rag",
    "evaluation",
    "comparison",
    "reporting",
    "tracking",
    "experiments",
    "serving",
    "cli",
)
MAY_START_OFFLINE_MODELS = {"models", "cli"}
TESTS = Path(__file__).parent
# The modules without a test file of their name: the file that tests each, and why it is another.
TESTED_ELSEWHERE = {
    "engines/engine.py": ("engines/test_engines.py", "the interface, tested on both engines"),
    "engines/on_ray.py": ("engines/test_engines.py", "what it does on a cluster is what the other engine does"),
    "engines/opening.py": ("engines/test_choice.py", "it opens what was chosen"),
    "evaluation/judgement.py": ("evaluation/test_retrieval_metrics.py", "what metrics return"),
    "evaluation/further_ragas_metrics.py": ("evaluation/test_judge.py", "the judge is the only way to the metrics"),
    "evaluation/judge_models.py": ("evaluation/test_judge.py", "the judge is the only way to them"),
    "evaluation/ragas_metrics.py": ("evaluation/test_judge.py", "the judge is the only way to the metrics"),
    "experiments/due.py": ("experiments/test_reuse.py", "what earlier experiments leave to be done"),
    "experiments/trial.py": ("experiments/test_failures.py", "a trial, whose failure is a result"),
    "experiments/study_values.py": ("experiments/test_study_reader.py", "the reader is made of it"),
    "experiments/recorder.py": ("experiments/test_failures.py", "it records what trials send over a real gateway"),
    "indexes/client.py": ("indexes/test_builder.py", "it is how the builder is reached"),
    "indexes/steps.py": ("indexes/test_builder.py", "the steps of the builder"),
    "comparison/leaderboard_table.py": ("comparison/test_comparison.py", "it renders what is compared there"),
    "metrics/definition.py": ("metrics/test_registry.py", "the definitions are found by name"),
    "models/direct_calls.py": ("models/test_form_llm.py", "the judge's calls go through it"),
    "models/endpoint_client.py": ("models/test_gateway.py", "the gateway sends every request through it"),
    "models/paid_answers.py": ("models/test_gateway.py", "what the gateway keeps and reads again"),
    "models/payments.py": ("models/test_gateway.py", "the gateway pays through it"),
    "models/http_serving.py": ("models/test_gateway_server.py", "the gateway's server is made of it"),
    "models/gateway_client.py": ("models/test_gateway.py", "it carries requests to the gateway"),
    "models/http_transport.py": ("models/test_gateway.py", "it carries requests of the OpenAI client to the gateway"),
    "rag/engine.py": ("rag/test_answers.py", "what `answer_from` makes"),
    "rag/told.py": ("rag/test_optuna_search.py", "what searches are told"),
    "rag/vector_search.py": ("rag/test_methods.py", "methods, which are tested together"),
    "rag/whole_texts.py": ("rag/test_parents.py", "methods over the retrievers that are tested there"),
    "progress/rich_bars.py": ("progress/test_bars.py", "the bars of a terminal, which are drawn in one there"),
    "progress/task.py": ("progress/test_lines.py", "tasks are seen in the lines about them"),
    "progress/wording.py": ("progress/test_lines.py", "the words of the lines"),
    "runtime/by_value.py": ("rag/test_travelling.py", "methods and metrics are what travels"),
    "records/confirmation.py": ("comparison/test_held_out.py", "the records that a confirmation is"),
    "reporting/confirmed.py": ("experiments/test_confirmation.py", "a section about a whole experiment"),
    "reporting/searched.py": ("experiments/test_search_rounds.py", "a section about a whole search"),
    "reporting/sections.py": ("reporting/test_report.py", "parts of the report, which is tested as a page"),
    "reporting/static_figures.py": ("reporting/test_figures.py", "it draws the figures that are made there"),
    "serving/pull_requests.py": ("serving/test_git_promotion.py", "they are opened for the branch that is pushed"),
    "settings/endpoints.py": ("settings/test_settings.py", "the settings hold the endpoints"),
    "settings/readers.py": ("settings/test_settings.py", "the settings are read by them"),
    "settings/variables.py": ("settings/test_settings.py", "the settings are read by it"),
    "tracking/answer_trace.py": ("tracking/test_tracker.py", "the traces of experiments are made of it"),
    "tracking/mlflow_artifacts.py": ("tracking/test_tracker.py", "its files are in the runs of a whole experiment"),
    "tracking/mlflow_runs.py": ("tracking/test_tracker.py", "its runs are those of a whole experiment"),
    "tracking/process.py": ("tracking/test_tracker.py", "the other end of the tracker"),
}


def wing_of(path: Path) -> str:
    """The wing that a file belongs to; "" for the modules in dream/ itself."""
    parts = path.relative_to(PACKAGE).parts
    return parts[0] if len(parts) > 1 and parts[0] not in GROUND else ""


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def imports(path: Path) -> tuple[ast.Import | ast.ImportFrom, ...]:
    """All imports of a file, wherever in it."""
    return tuple(node for node in ast.walk(parsed(path)) if isinstance(node, ast.Import | ast.ImportFrom))


def imported_modules(path: Path) -> Iterator[str]:
    """Full names of everything that a file imports."""
    for node in imports(path):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        else:
            yield from ([node.module] if node.module != "dream" else [f"dream.{alias.name}" for alias in node.names])


def imported_wings(path: Path) -> set[str]:
    names = (name.split(".")[1] for name in imported_modules(path) if name.startswith("dream."))
    return {name for name in names if (PACKAGE / name).is_dir()} - {wing_of(path), *GROUND}


def test_every_package_is_a_wing_that_says_what_it_is_for():
    packages = {path.parent.name: path.read_text(encoding="utf-8") for path in PACKAGE.glob("*/__init__.py")}
    assert set(packages) == {*WINGS, "offline", *GROUND}
    for name, text in packages.items():
        assert ast.get_docstring(ast.parse(text)), name


def test_a_wing_imports_only_wings_below_it():
    wrong = {}
    for path in PACKAGE.rglob("*.py"):
        wing = wing_of(path)
        if wing == "offline" or path == PACKAGE / "__init__.py":
            continue
        below = set(WINGS[: WINGS.index(wing)]) if wing else set()
        allowed = below | ({"offline"} if wing in MAY_START_OFFLINE_MODELS else set())
        if above := imported_wings(path) - allowed:
            wrong[str(path.relative_to(PACKAGE))] = sorted(above)
    assert wrong == {}


def modules_with_tests() -> set[str]:
    """All modules with contents of their own, but those of `offline`, which are tested as the program that they are."""
    paths = (path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py" and wing_of(path) != "offline")
    return {str(path.relative_to(PACKAGE)) for path in paths if not only_imports(path)}


def only_imports(path: Path) -> bool:
    _docstring, *rest = parsed(path).body
    return all(isinstance(node, ast.Import | ast.ImportFrom) for node in rest)


def own_test_file(module: str) -> Path:
    return TESTS / Path(module).with_name(f"test_{Path(module).name}")


def test_each_module_has_a_test_file_of_its_name_or_a_reason_why_not():
    without = {module for module in modules_with_tests() if not own_test_file(module).exists()}
    assert without - set(TESTED_ELSEWHERE) == set()
    assert set(TESTED_ELSEWHERE) - without == set(), "these have a test file of their name now, or are gone"


@pytest.mark.parametrize("module", TESTED_ELSEWHERE)
def test_the_file_that_tests_a_module_imports_it_or_reaches_it_through_its_wing(module: str):
    test_file, reason = TESTED_ELSEWHERE[module]
    assert reason
    reached, new = set(), set(imported_files(TESTS / test_file))
    while new:
        reached |= new
        in_wing = {path for path in new if path.is_relative_to((PACKAGE / module).parent)}
        new = {imported for path in in_wing for imported in imported_files(path)} - reached
    assert PACKAGE / module in reached


@cache
def imported_files(path: Path) -> frozenset[Path]:
    """The modules of the package that a file imports; of a wing, those that the wing's own names come from."""
    files = set()
    for node in imports(path):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "dream":
            place = PACKAGE.joinpath(*str(node.module).split(".")[1:])
            files |= {place.with_suffix(".py"), *(place / f"{alias.name}.py" for alias in node.names)}
            if place != PACKAGE and path.name != "__init__.py" and (place / "__init__.py").exists():
                files |= imported_files(place / "__init__.py")
    return frozenset(file for file in files if file.exists())


def loaded_by(program: str) -> set[str]:
    """The top-level packages that a program, which imports sys, has loaded in a fresh Python."""
    program += "print(*{name.split('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_comparison_can_be_used_without_ray_ragas_or_llamaindex():
    program = (
        "import sys, pkgutil, importlib, dream.comparison as package\n"
        "for module in pkgutil.iter_modules(package.__path__):\n"
        "    importlib.import_module(f'dream.comparison.{module.name}')\n"
    )
    assert not loaded_by(program) & {"ray", "ragas", "llama_index", "mlflow", "openai"}
    named = {name.split(".")[0] for path in (PACKAGE / "comparison").glob("*.py") for name in imported_modules(path)}
    assert not named & {"ray", "ragas", "llama_index", "llama_index_instrumentation"}


def test_the_offline_models_know_only_the_errors():
    names = {name for path in (PACKAGE / "offline").glob("*.py") for name in imported_modules(path)}
    wrong = [name for name in names if name.startswith("dream.") and not name.startswith("dream.offline")]
    assert wrong == ["dream.errors"]


def test_dream_exports_at_most_fifteen_names_and_each_loads():
    assert len(dream.__all__) <= 15
    for name in dream.__all__:
        assert callable(getattr(dream, name)), name


def test_importing_dream_loads_nothing_heavy_and_touches_no_network():
    program = "import socket, sys\nsocket.socket = None\nimport dream, dream.cli.main\n"
    assert not loaded_by(program) & {"ray", "mlflow", "ragas", "llama_index", "pandas", "openai", "boto3"}


def test_an_experiment_starts_without_what_only_its_end_needs():
    loaded = loaded_by("import sys, dream.experiments.run\n")
    assert not loaded & {"ray", "mlflow", "ragas", "llama_index", "openai", "boto3", "scipy"}


def test_to_import_ray_is_not_to_build_a_grammar():
    """Every process of Ray would: newer versions of jsonschema do beside Jupyter (see pyproject.toml)."""
    assert not loaded_by("import sys, ray\n") & {"rfc3987_syntax", "lark"}
