"""What a test or an example of a docstring registers is gone after it, as a plugin of pytest."""

from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def _registries_as_before() -> Iterator[None]:
    """RAG methods and own metrics; those of a module or of a fixture of a module stay."""
    from dream.metrics import registry
    from dream.rag.registry import RAG_METHODS

    registries = [(each, dict(each)) for each in (RAG_METHODS, registry._OWN)]
    yield
    for each, before in registries:
        if each != before:
            each.clear()
            each.update(before)
