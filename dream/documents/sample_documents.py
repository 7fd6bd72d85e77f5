"""The nine sample PDFs, which come with the package: `dream demo` and the notebooks read them."""

from importlib.resources import files
from pathlib import Path


def sample_documents() -> Path:
    """The folder of the sample PDFs.

    In a checkout it is `notebooks/sample_documents`, to which a link in the package leads.

    Example:
        >>> len(list(sample_documents().glob("*.pdf")))
        9
    """
    return Path(str(files("dream"))) / "sample_documents"
