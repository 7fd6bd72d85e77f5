"""Runs the notebooks offline and keeps their outputs in them: `make notebook-outputs`.

The run has a home of its own, offline models and a Ray of its own, whatever the shell or a `.env` file has set. What
would change from run to run is left out of the outputs, so that a change in a committed notebook is one of DREAM.
"""

import argparse
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import nbformat
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"
NAMES = ("1_prepare_documents", "2_golden_dataset", "3_experiment", "4_compare")
# Without a name an experiment is called after the time at which it started.
PARAMETERS = dict.fromkeys(("3_experiment", "4_compare"), 'experiment_name = "sample"')
SECONDS_A_CELL = 3600
_OUTSIDE = ("DREAM_", "OPENAI_", "S3_", "AWS_", "MLFLOW_", "RAY_ADDRESS", "RAY_AUTH_TOKEN", "RAY_DASHBOARD_ADDRESS")
_TEXTS = {"text", "text/plain", "text/html", "text/markdown"}


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


def clean(notebook: nbformat.NotebookNode, folders: Mapping[str, str]) -> None:
    """Leave out of the outputs what is different each time, in place.

    That is numbers of execution, logs (stderr), whatever a cell with the tag `progress` shows, and the `folders`, each
    of which is replaced by its name.
    """
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.execution_count = None
            shows_progress = "progress" in cell.metadata.get("tags", [])
            cell.outputs = [] if shows_progress else _clean_outputs(cell.outputs, folders)


def _clean_outputs(outputs: Sequence[nbformat.NotebookNode], folders: Mapping[str, str]) -> list[nbformat.NotebookNode]:
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
        texts = output if output.output_type == "stream" else output.data
        for kind in _TEXTS & set(texts):
            for folder, name in folders.items():
                texts[kind] = texts[kind].replace(folder, name)
    return kept


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
            clean(notebook, {home: ".dream", str(folder): "notebooks"})
            nbformat.write(notebook, target / f"{name}.ipynb")
            print(f"{name}: {(target / f'{name}.ipynb').stat().st_size / 1000:,.0f} kB", flush=True)


if __name__ == "__main__":
    main()
