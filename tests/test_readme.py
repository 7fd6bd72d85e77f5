"""The documentation is true: links lead somewhere, the API table lists the names of `dream`, its program runs."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import dream

ROOT = Path(dream.__file__).parents[1]
PAGES = ["README.md", "INSTALL.md", "CONTRIBUTING.md", "CHANGELOG.md", "notebooks/sample_sources/README.md"]


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES)
def test_relative_links_lead_to_files(page: str):
    links = [link for link in re.findall(r"\]\(([^)#]+)", text_of(page)) if "://" not in link]
    assert [link for link in links if not (ROOT / page).parent.joinpath(link).exists()] == []


@pytest.mark.parametrize("page", PAGES)
def test_files_and_make_targets_that_are_named_exist(page: str):
    targets = set(re.findall(r"^([a-z-]+):", text_of("Makefile"), re.MULTILINE))
    assert set(re.findall(r"`make ([a-z-]+)`|^make ([a-z-]+)", text_of(page), re.MULTILINE)) or page != "README.md"
    named = {target for pair in re.findall(r"`make ([a-z-]+)`|^make ([a-z-]+)", text_of(page), re.M) for target in pair}
    assert named - {""} <= targets
    files = re.findall(r"`((?:dream|notebooks|tests)/[\w/.-]+)`", text_of(page))
    assert [name for name in files if not any((ROOT / f"{name}{end}").exists() for end in ("", ".ipynb"))] == []


def test_the_api_table_lists_the_names_of_dream():
    table = text_of("README.md").split("## The API")[1].split("##")[0]
    assert sorted(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == sorted(dream.__all__)


def test_the_rag_methods_are_all_in_the_readme():
    from dream.rag.methods import RAG_METHODS

    table = text_of("README.md").split("## RAG methods")[1].split("##")[0]
    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == list(RAG_METHODS)


def test_every_setting_is_in_the_install_page_and_none_is_invented():
    from dream.settings import KNOWN_VARIABLES

    named = set(re.findall(r"`(DREAM_[A-Z_]+[A-Z])`", text_of("INSTALL.md")))
    assert set(KNOWN_VARIABLES) <= named
    assert named <= set(KNOWN_VARIABLES)


@pytest.mark.whole
def test_the_ten_line_program_runs(tmp_path: Path):
    program = text_of("README.md").split("## Ten lines")[1].split("```python\n")[1].split("```")[0]
    program = program.replace("n_questions=20", "n_questions=4").replace(
        "settings.llms, settings.embed_models", "settings.llms[:1], settings.embed_models[:1]"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "S3_", "MLFLOW_"))}
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={**environment, "DREAM_OFFLINE": "1", "DREAM_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "answer_correctness" in done.stdout
    assert "trial 2 of 2" in done.stdout
