"""The notebooks: short, without leftovers, and run from top to bottom on a cluster through Ray Client."""

import ast
import os
import shutil
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from ray_cluster import RayCluster

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"
NAMES = ["1_prepare_documents", "2_golden_dataset", "3_experiment", "4_compare"]
SMALLER = {
    "2_golden_dataset": "n_questions = 4",
    "3_experiment": 'query_engines = ["chunks_with_overlap", "sentence_window"]\nllms = ["offline/llm-large"]\n'
    'embed_models = ["offline/embed-large"]',
}
every_notebook = pytest.mark.parametrize("name", NAMES)


def read(name: str) -> nbformat.NotebookNode:
    return nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)


def code_cells(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_these_are_all_notebooks():
    assert sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb")) == NAMES


@every_notebook
def test_a_notebook_is_stripped_and_has_one_parameters_cell(name: str):
    cells = code_cells(read(name))
    assert sum("parameters" in cell.metadata.get("tags", []) for cell in cells) == 1
    assert [cell.execution_count for cell in cells] == [None] * len(cells)
    assert [cell.outputs for cell in cells] == [[]] * len(cells)


@every_notebook
def test_a_notebook_tells_and_the_library_does(name: str):
    notebook = read(name)
    for cell in code_cells(notebook):
        lines = cell.source.splitlines()
        assert len(lines) <= 15, cell.source
        tree = ast.parse(cell.source, mode="exec") if "await" not in cell.source else ast.parse("async def f():\n pass")
        defined = [node for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
        assert defined == [], cell.source
    kinds = [cell.cell_type for cell in notebook.cells]
    assert "code,code,code,code" not in ",".join(kinds), "four cells of code without a word between them"


def test_all_notebooks_run_on_a_cluster_one_after_another(ray_cluster: RayCluster, tmp_path: Path):
    shutil.copytree(NOTEBOOKS, tmp_path / "notebooks")
    environment = {
        **{
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("DREAM_", "OPENAI_", "S3_", "AWS_"))
        },
        **ray_cluster.environment(),
        "DREAM_OFFLINE": "1",
        "DREAM_HOME": str(tmp_path / "home"),
    }
    environment.pop("MLFLOW_TRACKING_URI", None)
    for name in NAMES:
        notebook = read(name)
        (parameters,) = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
        parameters.source += "\n" + SMALLER.get(name, "")
        client = NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path / "notebooks")}})
        client.execute(env=environment)
        outputs = {cell.id: str(cell.outputs) for cell in code_cells(notebook)}
        assert ray_cluster.token not in str(outputs)
        if name == "3_experiment":
            assert "80 % power" in outputs["3-05c"] and "planned calls" in outputs["3-12b"]
    assert "sentence_window" in outputs["4-05"]
    assert "say nothing about a real LLM" in outputs["4-03b"]
    assert "report.html" in outputs["4-12b"]
    assert "What it cost" in (tmp_path / "notebooks" / "report.html").read_text(encoding="utf-8")
