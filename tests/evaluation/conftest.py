"""Fixtures of evaluations."""

import pytest
from town import make_engine


@pytest.fixture
def engine(gateway):
    """A query engine over six sentences, with the LLM at the relay."""
    return make_engine()
