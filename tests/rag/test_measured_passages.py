"""Passages are measured once for the same documents and questions, and are kept beside the texts."""

import shutil

import pytest
from lab import REPOSITORY

from dream.documents.loading import load_documents
from dream.rag.costs import texts_read
from dream.rag.measured_passages import MeasuredPassages
from dream.records import Trial
from dream.settings import Settings
from dream.storage import open_storage

QUESTIONS = ["How deep do the turbines stand?", "How often is a blade inspected?"]
TRIALS = [Trial("hierarchical_automerging", "llm", "embed", {"chunk_sizes": (512, 128), "top_k": 6})]
KEY = "hierarchical_automerging [('chunk_sizes', (512, 128)), ('top_k', 6)]"


@pytest.fixture
def load(tmp_path):
    """Loads the documents of a folder, whose texts are kept in the cache."""
    folder = tmp_path / "documents"
    folder.mkdir()
    shutil.copy(REPOSITORY / "notebooks/sample_documents/tidal-array-operations.pdf", folder)
    settings = Settings.from_environment({"DREAM_HOME": str(tmp_path / "home")})
    return lambda: load_documents(open_storage(str(folder), settings), settings=settings).documents


def passages_read(documents):
    return {trial: read.passages for trial, read in texts_read(TRIALS, documents, QUESTIONS).items()}


def test_what_was_measured_is_found_again_and_is_used(load):
    first = passages_read(load())
    kept = MeasuredPassages(load(), QUESTIONS)
    assert kept.get(KEY) == first[TRIALS[0].id] > 0
    kept.keep({KEY: 4.25})
    assert passages_read(load()) == {TRIALS[0].id: 4.25}


def test_other_documents_and_questions_are_measured_anew(load, tmp_path):
    MeasuredPassages(load(), QUESTIONS).keep({KEY: 4.25})
    assert MeasuredPassages(load(), QUESTIONS[:1]).get(KEY) is None
    (tmp_path / "documents/more.txt").write_text("Blades are inspected in spring.")
    assert MeasuredPassages(load(), QUESTIONS).get(KEY) is None


def test_what_cannot_be_read_is_measured_again(load):
    documents = load()
    MeasuredPassages(documents, QUESTIONS).keep({KEY: float("nan"), "other": 2})
    assert MeasuredPassages(documents, QUESTIONS).get(KEY) is None
    assert MeasuredPassages(documents, QUESTIONS).get("other") == 2
