"""Runs the notebooks offline and keeps their outputs in them: `make notebook-outputs`.

The run has a home of its own, offline models and a Ray of its own, whatever the shell or a `.env` file has set. What
would change from run to run is left out of the outputs, so that a change in a committed notebook is one of DREAM.
"""

import argparse
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

import nbformat
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"
NAMES = ("1_prepare_documents", "2_golden_dataset", "3_experiment", "4_compare")
# Without a name an experiment is called after the time at which it started.
PARAMETERS = dict.fromkeys(("3_experiment", "4_compare"), 'experiment_name = "sample"')
SECONDS_A_CELL = 3600
_OUTSIDE = ("DREAM_", "OPENAI_", "S3_", "AWS_", "MLFLOW_", "RAY_ADDRESS", "RAY_AUTH_TOKEN", "RAY_DASHBOARD_ADDRESS")
_TEXTS = ("text/plain", "text/html", "text/markdown")


def run(name: str, folder: Path, environment: Mapping[str, str], parameters: str = "") -> nbformat.NotebookNode:
    """The executed notebook `name` of `folder`, its parameters cell as it was; an error in a cell is raised."""
    notebook = nbformat.read(folder / f"{name}.ipynb", as_version=4)
    cell = parameters_cell(notebook)
    written = cell.source
    cell.source = f"{written}\n{parameters}"
    client = NotebookClient(notebook, timeout=SECONDS_A_CELL, resources={"metadata": {"path": str(folder)}})
    client.execute(env=dict(environment))
    cell.source = written
    return notebook


def parameters_cell(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    (cell,) = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    return cell


def outside_settings_removed() -> dict[str, str]:
    """This process's environment without settings of DREAM and of the services that it can use."""
    return {name: value for name, value in os.environ.items() if not name.startswith(_OUTSIDE)}


def clean(notebook: nbformat.NotebookNode, home: str) -> None:
    """Leave out of the outputs what is different each time, in place: numbers of execution, logs, progress, durations
    and the folder `home`, which becomes `.dream`."""
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.execution_count = None
            cell.outputs = [] if "progress" in cell.metadata.get("tags", []) else _clean_outputs(cell.outputs, home)


def _clean_outputs(outputs: list[nbformat.NotebookNode], home: str) -> list[nbformat.NotebookNode]:
    kept: list[nbformat.NotebookNode] = []
    for output in outputs:
        if output.output_type == "stream" and output.name == "stderr":
            continue
        if output.output_type == "stream" and kept and kept[-1].output_type == "stream":
            kept[-1].text += output.text
            continue
        if output.output_type == "execute_result":
            output.execution_count = None
        kept.append(output)
    for output in kept:
        if output.output_type == "stream":
            output.text = clean_text(output.text, home)
        else:
            output.data.update({kind: clean_text(output.data[kind], home) for kind in _TEXTS if kind in output.data})
    return kept


def clean_text(text: str, home: str) -> str:
    """A text without terminal codes, the workers' log lines, durations and the folder `home`.

    Example:
        >>> clean_text("read in 12.5 s from /tmp/x/documents", "/tmp/x")
        'read in … s from .dream/documents'
    """
    text = re.sub(r"\x1b\[[0-9;]*m", "", text).replace(home, ".dream")
    text = re.sub(r"^\([\w.]+ (?:pid|ip)=.*\n?", "", text, flags=re.MULTILINE)
    return re.sub(r"\b\d+(?:\.\d+)?(?= (?:s|seconds|min|minutes)\b)", "…", text)


def main() -> None:
    """Run all notebooks, one after another, and write them with their outputs."""
    parser = argparse.ArgumentParser(description="Run the notebooks offline and keep their outputs in them.")
    parser.add_argument("--to", type=Path, default=NOTEBOOKS, help="the folder to write to, by default notebooks/")
    target: Path = parser.parse_args().to
    with tempfile.TemporaryDirectory() as place:
        folder, home = Path(place, "notebooks"), str(Path(place, "home"))
        shutil.copytree(NOTEBOOKS, folder)
        environment = {**outside_settings_removed(), "DREAM_OFFLINE": "1", "DREAM_HOME": home}
        target.mkdir(parents=True, exist_ok=True)
        for name in NAMES:
            notebook = run(name, folder, environment, PARAMETERS.get(name, ""))
            clean(notebook, home)
            nbformat.write(notebook, target / f"{name}.ipynb")
            print(f"{name}: {(target / f'{name}.ipynb').stat().st_size / 1000:,.0f} kB", flush=True)


if __name__ == "__main__":
    main()
