"""Plans: what repeats and baselines add, and what is paid already."""

from dataclasses import replace

import pytest

from dream.experiments.planning import Plan, plan, plan_of, uncounted_text
from dream.experiments.spec import ExperimentSpec
from dream.indexes import counts
from dream.models import gateway_client
from dream.rag.methods import RAG_METHODS, http_system, rag_method
from dream.rag.search_space import SearchSpace
from dream.records import GoldenDataset, GoldenQuestion, Source
from dream.settings import Settings

SPACE = SearchSpace(["chunks_with_overlap"], ["offline/llm-small", "offline/llm-large"], ["offline/embed-small"])
QUESTIONS = tuple(
    GoldenQuestion(
        f"q{place}", f"Question {place}?", "Truth.", ("A context.",) if place < 7 else (), (Source(f"{place % 3}.txt"),)
    )
    for place in range(8)
)
GOLDEN = GoldenDataset(QUESTIONS)


def calls(planned: Plan) -> dict[tuple[str, str], int]:
    return {(row.model.removeprefix("offline/"), row.stage): row.calls for row in planned.calls}


def test_repeats_and_baselines_are_counted(documents: Settings):
    metrics = ["answer_correctness", "context_recall", "answer_similarity"]
    plain = calls(plan(SPACE, golden_dataset=GOLDEN, metrics=metrics, settings=documents))
    assert plain["judge", "judge"] == 2 * 8 * (3 + 1)
    repeated = plan(
        SPACE, golden_dataset=GOLDEN, metrics=metrics, judge_repeats=3, judge_repeat_questions=4, settings=documents
    )
    assert calls(repeated)["judge", "judge"] - plain["judge", "judge"] == 2 * 4 * 2 * (3 + 1)
    assert calls(repeated)["llm-small", "answer"] == plain["llm-small", "answer"] == 8
    assert "answers to 4 of 8 questions are judged 3 times" in str(repeated)
    with_baselines = plan(SPACE, golden_dataset=GOLDEN, metrics=metrics, baselines=True, settings=documents)
    assert calls(with_baselines)["llm-small", "answer"] == 8 + 8 + 7  # the oracle lacks one question's contexts
    assert calls(with_baselines)["judge", "judge"] - plain["judge", "judge"] == 2 * (8 + 7) * 3
    assert calls(with_baselines)["embed-small", "query"] == plain["embed-small", "query"]
    assert "1 of 8 questions have no reference contexts: the oracle skips them" in str(with_baselines)
    assert with_baselines.n_trials == 2


def test_each_question_that_answer_relevancy_derives_is_a_call(documents: Settings):
    """`strictness` is the number of questions that the judge derives from an answer."""
    once, thrice = (
        plan(ExperimentSpec(SPACE, GOLDEN, metrics=["answer_relevancy"], strictness=strictness), settings=documents)
        for strictness in (1, 3)
    )
    assert calls(once)["judge", "judge"] == 2 * 8
    assert calls(thrice)["judge", "judge"] == 3 * 2 * 8
    assert calls(thrice)["embed-small", "query"] == calls(once)["embed-small", "query"]


def test_contexts_that_an_llm_writes_are_a_call_a_chunk_paid_once(documents: Settings):
    sizes = {"chunk_size": 40, "chunk_overlap": 0}
    contextual = {**sizes, "chunk_context": "llm"}
    parameters = {"chunks_with_overlap": contextual, "bm25": {**contextual, "context_llm": "offline/llm-large"}}
    llms, embed_models = ["offline/llm-small"], ["offline/embed-small", "offline/embed-large"]
    space = SearchSpace(["chunks_with_overlap", "bm25"], llms, embed_models, parameters)
    planned = plan(space, golden_dataset=GOLDEN, metrics=["token_f1"], settings=documents)
    n_chunks = planned.texts_to_embed // 2
    rows = {row.model: (row.calls, row.cached) for row in planned.calls if row.stage == "context"}
    # two embedding models have the same chunks; BM25, which embeds nothing, has another LLM
    assert rows == {"offline/llm-small": (2 * n_chunks, n_chunks), "offline/llm-large": (n_chunks, 0)}
    assert n_chunks > 3 and planned.indexes == 3


def test_documents_are_chunked_by_the_first_plan_alone(documents: Settings, monkeypatch: pytest.MonkeyPatch):
    spec = ExperimentSpec(SPACE, GOLDEN, metrics=["context_recall"])
    prepared = spec.prepare(documents)
    with gateway_client.opened(documents):
        assert uncounted_text(prepared, documents) == sum(len(document.text) for document in prepared.context.documents)
    first = plan(spec, settings=documents)
    assert first.texts_to_embed > 0
    monkeypatch.setattr(counts, "chunk_once", None)
    assert plan(spec, settings=documents) == first
    with gateway_client.opened(documents):
        assert uncounted_text(prepared, documents) == 0


def test_a_spec_and_keyword_arguments_make_the_same_plan(documents: Settings):
    spec = ExperimentSpec(SPACE, GOLDEN, metrics=["context_recall"], baselines=False)
    by_keywords = plan(SPACE, golden_dataset=GOLDEN, metrics=["context_recall"], settings=documents)
    assert plan(spec, settings=documents) == by_keywords


def test_repeats_cost_usd_where_the_judge_does(documents: Settings):
    settings = replace(documents, judge_llm="gpt-4o-mini", endpoints=openai_endpoint())
    once, thrice = (
        plan(SPACE, golden_dataset=GOLDEN, metrics=["context_recall"], judge_repeats=times, settings=settings)
        for times in (1, 3)
    )
    assert once.usd and thrice.usd
    assert thrice.usd == pytest.approx(3 * once.usd, rel=0.01)  # all 8 questions are in the slice


def test_the_usd_of_each_trial_and_of_the_indexes_make_the_usd_of_all(documents: Settings):
    settings = replace(documents, judge_llm="gpt-4o-mini", endpoints=openai_endpoint())
    planned = plan(SPACE, golden_dataset=GOLDEN, metrics=["answer_correctness"], baselines=True, settings=settings)
    indexes = sum(row.usd or 0.0 for row in planned.calls if row.stage == "embed")
    assert len(planned.usd_by_trial) > planned.n_trials
    assert sum(planned.usd_by_trial.values()) + indexes == pytest.approx(planned.usd)
    assert Plan.from_json(planned.to_json()) == planned
    earlier = {name: value for name, value in planned.to_json().items() if name != "usd_by_trial"}
    assert Plan.from_json(earlier).usd_by_trial == {}


def test_a_method_of_ones_own_whose_cost_is_unknown_is_named(documents: Settings):
    @rag_method("sentences", top_k=2)
    def silent(index, llm, *, top_k): ...

    @rag_method("sentences", top_k=2, llm_calls=3)
    def costly(index, llm, *, top_k): ...

    try:
        space = SearchSpace(["silent", "costly"], ["offline/llm-small"], ["offline/embed-small"])
        planned = plan(space, golden_dataset=GOLDEN, metrics=["answer_similarity"], settings=documents)
    finally:
        del RAG_METHODS["silent"], RAG_METHODS["costly"]
    assert calls(planned)["llm-small", "answer"] == 8 + 3 * 8
    assert "silent: one LLM call per question is assumed; @rag_method(llm_calls=...) says how many" in str(planned)


def test_indexes_are_those_of_the_methods_that_the_experiment_has_taken_along(documents: Settings):
    """A cell that is run again registers another method of the same name."""
    sizes = {"chunk_size": 40, "chunk_overlap": 0, "top_k": 2}

    @rag_method("tokens", **sizes)
    def mine(index, llm, **parameters): ...

    space = SearchSpace(["mine"], ["offline/llm-small"], ["offline/embed-small"], {"mine": {"top_k": [1, 2, 3]}})
    grid = ExperimentSpec(space, GOLDEN, metrics=["token_f1"]).prepare(documents)
    search = ExperimentSpec(space, GOLDEN, metrics=["token_f1"], search={"by": "optuna", "trials": 2})
    in_rounds = search.prepare(documents)
    with gateway_client.opened(documents):
        before = [plan_of(each, documents) for each in (grid, in_rounds)]

        @rag_method("whole_documents", **sizes)
        def mine(index, llm, **parameters): ...

        assert [plan_of(each, documents) for each in (grid, in_rounds)] == before
    assert before[0].texts_to_embed == before[1].texts_to_embed > 1


def test_calls_of_a_service_are_counted_and_leave_the_price_of_the_models_known(documents: Settings):
    http_system("chatbot", endpoint="chat")
    endpoint = Settings.from_environment({"DREAM_ENDPOINT_CHAT_BASE_URL": "http://chat.example"}).endpoints
    settings = replace(documents, judge_llm="gpt-4o-mini", endpoints=(*endpoint, *openai_endpoint()))
    space = SearchSpace(["chatbot", "bm25"], ["offline/llm-small"], ["offline/embed-small"])
    planned = plan(space, golden_dataset=GOLDEN, metrics=["rubrics"], settings=settings)
    assert calls(planned)["@chat", "answer"] == 8
    assert planned.usd and not planned.is_paid
    service = next(trial for trial in space.trials() if not trial.llm_identifier)
    assert planned.usd_by_trial[service.id] is None
    assert all(usd for trial, usd in planned.usd_by_trial.items() if trial != service.id)


def openai_endpoint():
    return Settings.from_environment({"OPENAI_API_KEY": "a-key"}).endpoints
