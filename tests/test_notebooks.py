"""The notebooks: short, with the outputs of one offline run, and run from top to bottom on a cluster by Ray Client."""

import ast
import re
import shutil
from pathlib import Path

import nbformat
import notebook_outputs
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from notebook_outputs import NAMES, NOTEBOOKS, clean, parameters_cell
from ray_cluster import RayCluster

SMALLER = {
    "2_golden_dataset": "n_questions = 4",
    "3_experiment": 'query_engines = ["chunks_with_overlap", "sentence_window"]\nllms = ["offline/llm-large"]\n'
    'embed_models = ["offline/embed-large"]',
}
LARGEST_FILE = 1_500_000
LEAKS = (
    r"/(?:tmp|home|root|Users|work|var)/",
    r"https?://(?:127\.0\.0\.1|localhost):\d",
    r"\d{4}-\d\d-\d\d|\d\d:\d\d:\d\d",
    r"sk-\w{8}|AKIA\w{8}|Bearer ",
    r"\x1b\[",
)
every_notebook = pytest.mark.parametrize("name", NAMES)


def read(name: str) -> nbformat.NotebookNode:
    return nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)


def code_cells(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def shown_texts(notebook: nbformat.NotebookNode) -> str:
    """All text of the outputs; pictures are left out."""
    texts = []
    for output in (output for cell in code_cells(notebook) for output in cell.outputs):
        texts.append(output.text if output.output_type == "stream" else "")
        data = output.get("data", {})
        texts += [str(content) for kind, content in data.items() if not kind.startswith("image/")]
    return "\n".join(texts)


def test_these_are_all_notebooks():
    assert sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb")) == list(NAMES)


@every_notebook
def test_a_notebook_has_one_parameters_cell_and_is_small(name: str):
    assert parameters_cell(read(name)).source
    assert (NOTEBOOKS / f"{name}.ipynb").stat().st_size < LARGEST_FILE


@every_notebook
def test_a_notebook_shows_what_it_does_and_nothing_of_the_machine_or_the_hour(name: str):
    notebook = read(name)
    cells = code_cells(notebook)
    assert [cell.execution_count for cell in cells] == [None] * len(cells)
    outputs = [output for cell in cells for output in cell.outputs]
    assert len(outputs) >= 3
    assert {output.output_type for output in outputs} <= {"stream", "display_data", "execute_result"}
    assert all(output.get("execution_count") is None for output in outputs)
    texts = shown_texts(notebook)
    assert {pattern: re.findall(pattern, texts) for pattern in LEAKS} == {pattern: [] for pattern in LEAKS}


@every_notebook
def test_every_plot_has_a_picture_beside_it(name: str):
    plots = 0
    for output in (output for cell in code_cells(read(name)) for output in cell.outputs):
        if "application/vnd.plotly.v1+json" in output.get("data", {}):
            assert output.data["image/png"].startswith("iVBORw0KGgo"), "the picture is no PNG"
            plots += 1
    assert plots == (5 if name == "4_compare" else 0)


def is_a_users_own(node: ast.FunctionDef | ast.ClassDef) -> bool:
    """A method, a metric or a system, as a user would bring one."""
    return any(
        ast.unparse(each).split("(")[0] in ("rag_method", "metric", "own_system") for each in node.decorator_list
    )


@every_notebook
def test_a_notebook_tells_and_the_library_does(name: str):
    notebook = read(name)
    for cell in code_cells(notebook):
        lines = cell.source.splitlines()
        assert len(lines) <= 15, cell.source
        tree = ast.parse(cell.source, mode="exec") if "await" not in cell.source else ast.parse("async def f():\n pass")
        defined = [node for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
        assert all(is_a_users_own(node) for node in defined), cell.source
    kinds = [cell.cell_type for cell in notebook.cells]
    assert "code,code,code,code" not in ",".join(kinds), "four cells of code without a word between them"


def test_what_changes_from_run_to_run_is_left_out():
    log = new_output("stream", name="stderr", text="2026-01-01 INFO started")
    lines = [
        new_output("stream", name="stdout", text="kept in /tmp/x7/home/documents\n"),
        new_output("stream", name="stdout", text="an answer: 12.5 s\n"),
    ]
    file_link = {"text/plain": "/tmp/x7/notebooks/report.html", "image/png": "iVBORw0KGgo="}
    result = new_output("execute_result", file_link, execution_count=7)
    notebook = new_notebook(
        cells=[
            new_markdown_cell("# A title"),
            new_code_cell(
                "1", outputs=[log, *lines, result], execution_count=7, metadata={"execution": {"began": "now"}}
            ),
            new_code_cell("2", outputs=lines, execution_count=8, metadata={"tags": ["progress"]}),
        ]
    )
    notebook.metadata["language_info"] = {"name": "python", "version": "3.11.9"}
    clean(notebook, {"/tmp/x7/home": ".dream", "/tmp/x7/notebooks": "notebooks"})
    first, second = code_cells(notebook)
    assert [output.output_type for output in first.outputs] == ["stream", "execute_result"]
    assert first.outputs[0].text == "kept in .dream/documents\nan answer: 12.5 s\n"
    assert first.outputs[1].data == {"text/plain": "notebooks/report.html", "image/png": "iVBORw0KGgo="}
    assert first.execution_count is first.outputs[1].execution_count is None
    assert first.metadata == {}
    assert second.outputs == []
    assert notebook.metadata["language_info"] == {"name": "python"}


def test_all_notebooks_run_on_a_cluster_one_after_another(ray_cluster: RayCluster, tmp_path: Path):
    folder = tmp_path / "notebooks"
    shutil.copytree(NOTEBOOKS, folder)
    environment = {
        **notebook_outputs.outside_settings_removed(),
        **ray_cluster.environment(),
        "DREAM_OFFLINE": "1",
        "DREAM_HOME": str(tmp_path / "home"),
    }
    environment.pop("MLFLOW_TRACKING_URI", None)
    for name in NAMES:
        notebook = notebook_outputs.run(name, folder, environment, SMALLER.get(name, ""))
        outputs = {cell.id: str(cell.outputs) for cell in code_cells(notebook)}
        assert ray_cluster.token not in str(outputs)
        if name == "3_experiment":
            assert "80 % power" in outputs["3-05c"] and "planned calls" in outputs["3-12b"]
            assert "The incumbent `our_rag`" in outputs["3-22"] and "short_chunks" in outputs["3-22"]
    assert "sentence_window" in outputs["4-05"]
    assert "say nothing about a real LLM" in outputs["4-03b"]
    assert "report.html" in outputs["4-12b"]
    assert "What it cost" in (folder / "report.html").read_text(encoding="utf-8")
