"""The nine sample PDFs that are installed with the package."""

from importlib.resources import files
from pathlib import Path


def sample_documents() -> Path:
    """The folder of the sample PDFs.

    In a checkout, it is a symbolic link to `notebooks/sample_documents`.

    Example:
        >>> len(list(sample_documents().glob("*.pdf")))
        9
    """
    return Path(str(files("dream"))) / "sample_documents"
