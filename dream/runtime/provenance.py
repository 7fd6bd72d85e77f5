"""Provenance: the versions of the software that can influence a result."""

import platform
import subprocess
from functools import cache
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

PACKAGES = ("dream-rag", "ray", "ragas", "llama-index-core", "openai", "mlflow", "faiss-cpu", "pypdfium2", "numpy")


def versions() -> dict[str, str]:
    """Versions of Python and of `PACKAGES` by name, `source`, a digest of DREAM's own source, and `git_commit` if DREAM
    runs from a git checkout."""
    commit = {"git_commit": commit} if (commit := _git_commit()) else {}
    return {**code_versions(), **commit}


def code_versions() -> dict[str, str]:
    """The same without `git_commit`; it changes whenever the code that runs changes."""
    packages = {package: version(package) for package in PACKAGES}
    return {"python": platform.python_version(), **packages, "source": _source_digest()}


@cache
def _source_digest() -> str:
    """12 hexadecimal digits over the names and contents of all modules of DREAM."""
    package = Path(__file__).parents[1]
    content = sha256()
    for path in sorted(package.rglob("*.py")):
        content.update(f"{path.relative_to(package)}\0".encode() + path.read_bytes() + b"\0")
    return content.hexdigest()[:12]


def _git_commit() -> str | None:
    """The commit of DREAM's checkout, with "-dirty" if files are modified; None outside a checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        process = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return process.stdout.strip() or None
