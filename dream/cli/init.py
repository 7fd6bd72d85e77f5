"""`dream init`: a starting project for the user's own documents and models."""

import json
import shutil
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer

from dream.errors import ConfigurationError, bullets
from dream.storage import local_files

SCHEMA, WINNER_SCHEMA = "study.schema.json", "winner.schema.json"
# Each file: its name, its template, its purpose. The schemas are generated from the readers' definitions.
FILES = (
    (".env", "env.txt", "keys, models, services and limits, each explained, none set"),
    (".gitignore", "gitignore.txt", "keeps keys and results out of Git"),
    ("README.md", "readme.txt", "what is where"),
    ("documents/.gitkeep", "gitkeep.txt", "the folder of your documents"),
    ("study.yaml", "study.yaml", "the study as a file: what is tried, for dream plan and dream run"),
    (SCHEMA, "", "completes and checks study.yaml in editors"),
    (WINNER_SCHEMA, "", "the same for winner.yaml, the file of dream export"),
    ("study.py", "study.py.txt", "the study as a script: what is tried, and every step"),
    ("study.ipynb", "study.ipynb", "the same steps one by one"),
)
# DREAM keeps local data in the nearest parent folder that contains it (`dream.settings.project_home`).
HOME = ".dream"


def init(
    folder: Annotated[
        str, typer.Argument(metavar="FOLDER", help="a new folder, or one without files of the same names")
    ],
    samples: Annotated[bool, typer.Option("--samples", help="copy the nine sample PDFs into its documents")] = False,
) -> int:
    """Write a starting project: settings, a script and a notebook.

    It runs as soon as it has documents, with offline models until its .env names others. Existing files are never
    overwritten.
    """
    root = Path(folder)
    _check_free(root)
    with local_files.explained(root):
        (root / HOME).mkdir(parents=True, exist_ok=True)
        (root / "documents").mkdir(exist_ok=True)
    for name, template, _ in FILES:
        local_files.write(root / name, [_template(template) if template else _schema(name)])
    if samples:
        _copy_samples(root / "documents")
    _say_what_next(root, samples)
    return 0


def _check_free(root: Path) -> None:
    """Raise a ConfigurationError that lists the files that exist, before any is written."""
    if root.exists() and not root.is_dir():
        raise ConfigurationError(f"{root} is a file: name a folder, such as dream init my-study")
    there = [name for name, _, _ in FILES if (root / name).exists()]
    if there:
        headline = (
            f"{root} already has {len(there)} of the files; nothing was written. Move them, or name another folder:"
        )
        raise ConfigurationError(bullets(headline, there))


def _template(name: str) -> bytes:
    return (files("dream.cli") / "templates" / name).read_bytes()


def _schema(name: str) -> bytes:
    from dream.experiments.study_schema import study_schema
    from dream.serving.promotion import promotion_schema

    schema = study_schema() if name == SCHEMA else promotion_schema()
    return json.dumps(schema, indent=1).encode()


def _copy_samples(documents: Path) -> None:
    from dream.documents.sample_documents import sample_documents

    for path in sorted(sample_documents().glob("*.pdf")):
        shutil.copyfile(path, documents / path.name)


def _say_what_next(root: Path, samples: bool) -> None:
    print(f"{root}: a starting project")
    for name, _, purpose in FILES:
        print(f"  {name.removesuffix('.gitkeep'):<12}  {purpose}")
    put = "" if samples else f"put your documents into {root / 'documents'}, then "
    print(
        f"\nNext: {put}in {root}\n"
        "  python study.py            all steps; asks before the run\n"
        "  dream plan study.yaml      what is tried as a file, then dream run study.yaml (needs: dream golden)\n"
        "  jupyter lab study.ipynb    step by step (needs: pip install 'dream-rag[notebooks]')\n"
        "Without keys in .env, offline models answer. They demonstrate DREAM; their scores say nothing about a real "
        "LLM."
    )
