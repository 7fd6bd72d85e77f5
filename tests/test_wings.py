"""The structure of the package: wings import only wings below them, and `import dream` is light and quiet."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import dream

PACKAGE = Path(dream.__file__).parent
# From the bottom to the top. What lies in dream/ itself, and the records, are below them all. `offline` is a program of
# its own that the gateway starts; only the gateway and the command that serves it know it.
WINGS = (
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
    "cli",
)
MAY_START_OFFLINE_MODELS = {"models", "cli"}


def wing_of(path: Path) -> str:
    """The wing that a file belongs to; "" for the modules in dream/ itself."""
    parts = path.relative_to(PACKAGE).parts
    return parts[0] if len(parts) > 1 and parts[0] != "records" else ""


def imported_modules(path: Path) -> Iterator[str]:
    """Full names of everything that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            yield from ([node.module] if node.module != "dream" else [f"dream.{alias.name}" for alias in node.names])
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def imported_wings(path: Path) -> set[str]:
    names = (name.split(".")[1] for name in imported_modules(path) if name.startswith("dream."))
    return {name for name in names if (PACKAGE / name).is_dir()} - {wing_of(path), "records"}


def test_every_package_is_a_wing_that_says_what_it_is_for():
    packages = {path.parent.name: path.read_text(encoding="utf-8") for path in PACKAGE.glob("*/__init__.py")}
    assert set(packages) == {*WINGS, "offline", "records"}
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


def test_comparison_can_be_used_without_ray_ragas_or_llamaindex():
    program = (
        "import sys, pkgutil, importlib, dream.comparison as package\n"
        "for module in pkgutil.iter_modules(package.__path__):\n"
        "    importlib.import_module(f'dream.comparison.{module.name}')\n"
        "loaded = {'ray', 'ragas', 'llama_index', 'mlflow', 'openai'} & {name.split('.')[0] for name in sys.modules}\n"
        "sys.exit(f'loaded: {loaded}' if loaded else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    named = {name.split(".")[0] for path in (PACKAGE / "comparison").glob("*.py") for name in imported_modules(path)}
    assert not named & {"ray", "ragas", "llama_index", "llama_index_instrumentation"}


def test_the_offline_models_know_only_the_errors():
    names = {name for path in (PACKAGE / "offline").glob("*.py") for name in imported_modules(path)}
    wrong = [name for name in names if name.startswith("dream.") and not name.startswith("dream.offline")]
    assert wrong == ["dream.errors"]


def test_the_front_door_has_at_most_fifteen_names_and_each_opens():
    assert len(dream.__all__) <= 15
    for name in dream.__all__:
        assert callable(getattr(dream, name)), name


def test_importing_dream_loads_nothing_heavy_and_touches_no_network():
    program = (
        "import socket, sys\n"
        "socket.socket = None\n"
        "import dream, dream.cli.main\n"
        "heavy = {'ray', 'mlflow', 'ragas', 'llama_index', 'pandas', 'openai', 'boto3'} & set(sys.modules)\n"
        "sys.exit(f'loaded: {heavy}' if heavy else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
