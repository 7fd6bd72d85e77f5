"""Calls that trials make alike are planned once: the cache answers the others."""

import shutil

from lab import REPOSITORY

from dream.experiments.planning import plan
from dream.experiments.shared_calls import Shared, SharedCalls
from dream.rag.search_space import SearchSpace
from dream.records import GoldenDataset, GoldenQuestion, Trial
from dream.settings import Settings

LLMS, EMBED_MODEL = ("offline/llm-small", "offline/llm-large"), "offline/embed-small"
QUESTIONS = tuple(GoldenQuestion(f"q{n}", f"How deep is turbine {n}?", "It is ten metres deep.") for n in range(4))


def test_trials_share_retrieval_unless_the_llm_has_a_part_in_it():
    shared = SharedCalls()
    plain = {"top_k": 3}
    rewriting = {**plain, "query_transform": "hyde"}
    found = [
        shared.of(Trial("mmr", llm, EMBED_MODEL, factors))
        for llm, factors in [
            ("a", plain), ("b", plain), ("a", {"top_k": 4}), ("a", {**plain, "temperature": 0.5}),
            ("a", rewriting), ("b", rewriting), ("b", {**rewriting, "temperature": 0.5}),
        ]
    ]  # fmt: skip
    questions, all_of_it = Shared(False, True), Shared(True, True)
    assert found == [Shared(), all_of_it, questions, all_of_it, questions, questions, all_of_it]
    assert shared.of(Trial("bm25", "a", "", plain)) == Shared()
    assert [shared.of(Trial("oracle", llm, "")) for llm in "ab"] == [Shared(), Shared(True, False)]


def test_what_is_judged_without_the_answer_is_paid_once_for_two_llms(tmp_path):
    (tmp_path / "documents").mkdir()
    shutil.copy(REPOSITORY / "notebooks/sample_documents/tidal-array-operations.pdf", tmp_path / "documents")
    settings = Settings.from_environment({"DREAM_HOME": str(tmp_path), "DREAM_OFFLINE": "1"})
    space = SearchSpace(["chunks_with_overlap"], LLMS, [EMBED_MODEL])
    metrics = ["faithfulness", "context_recall"]  # two calls about the answer, and one about the passages
    planned = plan(space, golden_dataset=GoldenDataset(QUESTIONS), metrics=metrics, settings=settings)
    rows = {row.stage: (row.calls, row.cached) for row in planned.calls if row.stage in ("judge", "query", "answer")}
    assert rows["judge"] == (2 * 4 * 3, 4)
    assert rows["query"] == (2 * 4, 4)
    assert not planned.is_paid
