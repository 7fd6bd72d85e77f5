"""The house itself: rooms import only rooms above them, and the front door is light and quiet."""

import ast
import subprocess
import sys
from pathlib import Path

import dream

PACKAGE = Path(dream.__file__).parent
# Data flows down this list. `offline` is a program of its own; it and the gateway that starts it are the exception.
ROOMS = [
    "errors",
    "loop",
    "records",
    "metrics",
    "settings",
    "versions",
    "files",
    "s3",
    "storage",
    "file_readers",
    "sources",
    "documents",
    "cluster",
    "model_calls",
    "answer_cache",
    "limits",
    "meter",
    "endpoints",
    "gateway",
    "bundles",
    "doors",
    "transport",
    "models",
    "passages",
    "testset",
    "golden_dataset",
    "index_store",
    "index_nodes",
    "indexes",
    "index_builder",
    "index_access",
    "query_engines",
    "search_space",
    "baselines",
    "judge_llm",
    "judge",
    "evaluator",
    "results",
    "paired",
    "scores",
    "costs",
    "standings",
    "effects",
    "power",
    "recommendation",
    "noise",
    "losses",
    "comparison",
    "regression",
    "agreement",
    "arms",
    "drawing",
    "plots",
    "static",
    "page",
    "pilot",
    "work",
    "planned_calls",
    "plan",
    "findings",
    "report",
    "evidence",
    "traces",
    "mlflow_runs",
    "tracking",
    "recorder",
    "experiment",
    "doctor",
    "compare_command",
    "cli",
]


def imported_rooms(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == "dream":
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("dream."):
            found.add(node.module.split(".")[1])
        elif isinstance(node, ast.Import):
            found |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("dream.")}
    return found


def test_every_room_is_in_the_list():
    assert sorted(path.stem for path in PACKAGE.glob("*.py") if path.stem != "__init__") == sorted(ROOMS)


def test_a_room_imports_only_rooms_above_it():
    wrong = {
        room: sorted(imported - {"offline"} - set(ROOMS[:place]))
        for place, room in enumerate(ROOMS)
        if (imported := imported_rooms(PACKAGE / f"{room}.py")) - {"offline"} - set(ROOMS[:place])
    }
    assert wrong == {}


def test_the_offline_models_know_only_the_errors():
    imported = set().union(*(imported_rooms(path) for path in (PACKAGE / "offline").glob("*.py")))
    assert imported <= {"errors", "offline"}


def test_the_front_door_has_at_most_fifteen_names_and_each_opens():
    assert len(dream.__all__) <= 15
    for name in dream.__all__:
        assert callable(getattr(dream, name)), name


def test_importing_dream_loads_nothing_heavy_and_touches_no_network():
    program = (
        "import socket, sys\n"
        "socket.socket = None\n"
        "import dream\n"
        "heavy = {'ray', 'mlflow', 'ragas', 'llama_index', 'pandas', 'openai', 'boto3'} & set(sys.modules)\n"
        "sys.exit(f'loaded: {heavy}' if heavy else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
