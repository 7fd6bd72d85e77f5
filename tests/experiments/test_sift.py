"""The sift: what it scores and leaves out, what it asks of models, and that it is made once.

Each question's evidence is in three files. Search by words finds all of them with `top_k` 3 and a third with `top_k` 1.
"""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
from birds import PLACES, write_documents
from lab import Lab, environment_of
from llama_index.core.query_engine import CustomQueryEngine
from model_servers import ModelServer

from dream.comparison.comparison import compare
from dream.comparison.leaderboard_table import comparison_text, leaderboard_of
from dream.errors import ConfigurationError
from dream.experiments.planning import plan
from dream.experiments.reuse import sift_taken_over
from dream.experiments.run import run_experiment
from dream.experiments.sift import located_questions, retrievals_of, sift_of, sifted
from dream.experiments.spec import ExperimentSpec
from dream.experiments.store import load_experiment
from dream.metrics import METRICS_WITH_CUTOFF
from dream.models import gateway_client
from dream.rag.methods import own_system, rag_method
from dream.rag.search import chosen, search_of
from dream.rag.search_space import SearchSpace
from dream.rag.search_spaces import JoinedSpace
from dream.records import ExperimentResult, GoldenDataset, GoldenQuestion, Search, Source
from dream.reporting import report_html
from dream.settings import Settings
from dream.storage import open_storage

pytestmark = [pytest.mark.whole, pytest.mark.usefixtures("mlflow_is_not_waited_for")]


BIRDS = (
    "kestrel", "dunlin", "osprey", "curlew", "plover", "avocet", "gannet", "fulmar", "petrel", "merlin", "siskin",
    "bittern",
)  # fmt: skip
QUESTIONS = tuple(
    GoldenQuestion(bird, f"Where was the {bird} seen?", f"At {' and '.join(PLACES)}.",
                   sources=tuple(Source(f"{bird}-{place}.txt") for place in PLACES))
    for bird in BIRDS
)  # fmt: skip
GOLDEN = GoldenDataset(QUESTIONS)
WORDS = SearchSpace(["bm25"], ["llm-small@x"], ["embed-small@x"], {"bm25": {"top_k": [1, 3], "temperature": [0, 0.5]}})


@pytest.fixture
def settings(model_server: ModelServer, tmp_path) -> Settings:
    return settings_in(str(tmp_path), model_server)


def settings_in(home: str, models: ModelServer) -> Settings:
    made = Settings.from_environment(environment_of(home, models, "http://127.0.0.1:9"))
    write_documents(made, BIRDS)
    return made


def run(
    settings: Settings, name: str, space=WORDS, on_line: Callable[[str], None] = lambda line: None, **options
) -> tuple[ExperimentResult, str]:
    lines: list[str] = []

    def show(line: str) -> None:
        lines.append(line)
        on_line(line)

    given = {"golden_dataset": GOLDEN, "metrics": ["token_f1"], "sift": True, "engine": "in_process", **options}
    return run_experiment(space, name=name, settings=settings, show=show, **given), "\n".join(lines)


@dataclass(frozen=True)
class Birds:
    """A finished experiment of two ways to search by words; the chat calls at the end of the sift, and of all."""

    settings: Settings
    outcome: ExperimentResult
    lines: str
    calls_of_sift: int
    calls: int


@pytest.fixture(scope="module")
def birds(_models: ModelServer, tmp_path_factory: pytest.TempPathFactory) -> Birds:
    settings, calls = settings_in(str(tmp_path_factory.mktemp("birds")), _models), list[int]()
    _models.reset()

    def count(line: str) -> None:
        if "Sifted by" in line:
            calls.append(_models.chat_calls())

    outcome, lines = run(settings, "birds", on_line=count)
    return Birds(settings, outcome, lines, *calls, _models.chat_calls())


def test_trials_of_worse_retrieval_are_left_out(birds: Birds):
    outcome, everything = birds.outcome, WORDS.trials()
    assert [result.trial for result in outcome.results] == [t for t in everything if t.parameters["top_k"] == 3]
    sift = outcome.manifest.sift
    best, worse = sift.retrievals
    assert (sift.metric, sift.n_questions, sift.is_done) == ("recall", 12, True)
    assert sift.left_out == tuple(trial for trial in everything if trial.parameters["top_k"] == 1)
    assert (best.goes_on, best.n_scored, best.means["recall"], best.difference) == (True, 12, 1, None)
    assert (worse.goes_on, worse.means["recall"], worse.means["hit"]) == (False, pytest.approx(1 / 3), 1)
    assert (worse.difference, worse.high < 0) == (pytest.approx(-2 / 3), True)
    assert worse.trials == tuple(trial.id for trial in everything if trial.parameters["top_k"] == 1)
    assert set(best.means) == set(METRICS_WITH_CUTOFF)
    assert worse.reason.startswith("sifted out: recall 0.333 against 1.000 of bm25 (top_k=3), a difference of -0.667")
    assert "1 of 2 retrieval combinations remain, and 2 of 4 trials were left out" in birds.lines
    assert outcome.manifest.plan.n_trials == 2
    assert load_experiment("birds", birds.settings) == outcome


def test_no_llm_and_no_judge_is_asked_in_a_sift(birds: Birds):
    usage = birds.outcome.usage
    checks = sum(row.sent for row in usage if row.stage == "check" and row.model != "embed-small")
    assert birds.calls_of_sift == checks  # nothing but the check of the models, before it
    assert birds.calls == checks + 2 * 12
    assert {row.stage for row in usage} == {"check", "answer"}  # search by words embeds nothing


def test_the_scores_of_each_question_are_kept(birds: Birds):
    storage = open_storage(birds.settings.experiments_uri, birds.settings)
    worse = birds.outcome.manifest.sift.retrievals[1]
    kept = json.loads(storage.read_bytes(f"birds/sift/{worse.trial.id}.json"))
    assert (kept["answers"], kept["config"]["llm_identifier"]) == ([], "")
    recall = {score["question_id"]: score["value"] for score in kept["scores"] if score["metric"] == "recall"}
    assert recall == {bird: pytest.approx(1 / 3) for bird in BIRDS}


def test_the_same_again_takes_the_sift_over_and_pays_nothing(birds: Birds, model_server: ModelServer):
    again, lines = run(birds.settings, "again")
    assert model_server.counters()["by_path"] == {}
    assert again.manifest.sift == birds.outcome.manifest.sift
    assert "reusing the sift of birds" in lines and "sifting" not in lines
    prepared = ExperimentSpec(WORDS, GOLDEN, metrics=["token_f1"], sift="ndcg").prepare(birds.settings)
    with gateway_client.opened(birds.settings):
        assert sift_taken_over(prepared, birds.settings) is None  # another metric
        asked_alike = replace(prepared, sift=sift_of(True))
        assert sift_taken_over(asked_alike, birds.settings) is not None
        assert sift_taken_over(replace(asked_alike, trials=prepared.trials[:3]), birds.settings) is None


def test_a_resumed_experiment_keeps_the_verdict(settings: Settings):
    halted, _ = run(replace(settings, budget=replace(settings.budget, calls=5)), "birds")
    assert halted.stopped and halted.manifest.sift.is_done
    resumed, lines = run(settings, "birds", resume="birds")
    assert "sifting" not in lines
    assert resumed.manifest.sift == halted.manifest.sift
    assert [result.error for result in resumed.results] == [None, None]
    with pytest.raises(ConfigurationError, match="the metric of the sift"):
        run(settings, "birds", resume="birds", sift="mrr")


def test_a_sift_that_a_budget_ends_is_made_when_the_experiment_is_resumed(settings: Settings):
    space = SearchSpace(
        ["chunks_with_overlap"], ["llm-small@x"], ["embed-small@x"], {"chunks_with_overlap": {"top_k": [1, 3]}}
    )
    halted, _ = run(replace(settings, budget=replace(settings.budget, calls=1)), "birds", space)
    assert "stopped at budget" in halted.stopped
    assert (halted.manifest.sift.is_done, len(halted.results)) == (False, 2)
    resumed, lines = run(settings, "birds", None, resume="birds", golden_dataset=None, metrics=None, sift=False)
    assert "sifting" in lines and resumed.manifest.sift.is_done
    assert [result.trial.parameters["top_k"] for result in resumed.results] == [3]
    assert load_experiment("birds", settings) == resumed


def test_the_plan_shows_the_sift_and_all_trials(settings: Settings):
    space = SearchSpace(
        ["chunks_with_overlap"], ["llm-small@x", "llm-large@x"], ["embed-small@x"],
        {"chunks_with_overlap": {"top_k": [1, 3], "query_transform": ["none", "multi_query"]}},
    )  # fmt: skip
    planned = plan(space, golden_dataset=GOLDEN, metrics=["token_f1"], sift=True, settings=settings)
    calls = {(row.model, row.stage): (row.calls, row.cached) for row in planned.calls}
    # plain retrieval for both LLMs, that of rewritten questions for each: 2 + 4 combinations
    assert planned.sifted == 6
    assert calls["llm-small@x", "sift"] == calls["llm-large@x", "sift"] == (2 * 12, 0)
    assert calls["embed-small@x", "sift"] == (2 * 12 + 4 * 4 * 12, 5 * 12)  # the questions are embedded once
    assert calls["embed-small@x", "query"] == (2 * (2 * 12 + 2 * 4 * 12),) * 2
    assert calls["llm-small@x", "answer"] == (4 * 12 + 2 * 12, 2 * 12)
    assert planned.n_trials == 8
    text = str(planned)
    assert "sift by recall: 6 retrieval combinations of 8 trials are scored first" in text
    assert "4 of these combinations may call the LLM" in text
    assert "for the indexes and the sift; with all trials, if none is sifted out" in text


def test_what_cannot_be_sifted_goes_on_and_says_so(settings: Settings):
    @own_system(incumbent=True)
    def in_use(question):
        return "At the harbour.", ["A harbour."]

    @rag_method("sentences", top_k=2, llm_calls=0)
    def oracle_of_birds(index, llm, *, top_k: int):
        class Engine(CustomQueryEngine):
            def custom_query(self, query_str: str) -> str:
                return "By the lighthouse."

        return Engine()

    others = SearchSpace(["in_use", "long_context", "oracle_of_birds"], ["llm-small@x"], ["embed-small@x"])
    outcome, lines = run(settings, "birds", JoinedSpace([WORDS, others]))
    sift, names = outcome.manifest.sift, [result.trial.query_engine_identifier for result in outcome.results]
    assert names == ["bm25", "bm25", "in_use", "long_context", "oracle_of_birds"]
    reasons = {"it is an existing system, which only returns answers", "it reads whole documents"}
    assert set(sift.untried.values()) == reasons
    (unscored,) = [each for each in sift.retrievals if not each.means]
    assert unscored.goes_on
    assert "it could not be scored: no score: ConfigurationError: a Engine cannot retrieve" in unscored.reason
    assert "2 further trials could not be sifted, and remain too." in lines


def test_embeddings_are_paid_once_for_sift_and_trials(settings: Settings):
    factors = {"top_k": [1, 3], "reranker": ["none", "rerank@x"]}
    space = SearchSpace(
        ["chunks_with_overlap"], ["llm-small@x", "llm-large@x"], ["embed-small@x"], {"chunks_with_overlap": factors}
    )
    asked = {"golden_dataset": GOLDEN, "metrics": ["token_f1"], "sift": True}
    planned = {(row.model, row.stage): row.calls for row in plan(space, settings=settings, **asked).calls}
    outcome, _ = run(settings, "birds", space)
    rows = {(f"{row.model}@x", row.stage): row for row in outcome.usage if row.stage != "check" and not row.trial}
    assert {key: row.calls for key, row in rows.items()} == {
        key: n for key, n in planned.items() if key[1] in ("embed", "sift")
    }
    assert (rows["embed-small@x", "sift"].sent, rows["rerank@x", "sift"].sent) == (12, 12)  # the same hits are ranked
    assert {row.sent for row in outcome.usage if row.stage in ("query", "rerank")} == {0}


def test_a_single_retrieval_needs_no_sift(settings: Settings):
    space = replace(WORDS, parameters={"bm25": {"temperature": [0, 0.5]}})
    prepared = ExperimentSpec(space, GOLDEN, metrics=["token_f1"], sift=True).prepare(settings)
    assert plan(space, golden_dataset=GOLDEN, metrics=["token_f1"], sift=True, settings=settings).sifted == 0
    left = sifted(prepared, [])
    assert left.trials == prepared.trials
    assert "nothing to compare" in prepared.notes[0] and "nothing to sift by recall" in left.sift.summary
    assert left.sift.retrievals[0].reason == "it is the only retrieval combination"


def test_questions_without_evidence_are_not_asked_in_the_sift(settings: Settings):
    golden = GoldenDataset((*QUESTIONS[:11], replace(QUESTIONS[11], sources=())))
    prepared = ExperimentSpec(WORDS, golden, metrics=["token_f1"], sift=True).prepare(settings)
    assert located_questions(prepared) == QUESTIONS[:11]
    assert "on the 11 of 12 questions whose evidence is located" in prepared.notes[0]


@pytest.mark.parametrize("make", [plan, run_experiment])
def test_without_any_evidence_nothing_is_asked(settings: Settings, model_server, make):
    golden = GoldenDataset(tuple(replace(question, sources=()) for question in QUESTIONS))
    with pytest.raises(
        ConfigurationError, match=r"no question has any: evidence of 0 of 12 questions .* or run without"
    ):
        make(WORDS, golden_dataset=golden, metrics=["token_f1"], sift=True, settings=settings)
    assert model_server.counters()["by_path"] == {}


@pytest.mark.parametrize("wrong", ["faithfulness", "recall@0", "recal", 3])
def test_a_metric_that_is_none_of_retrieval_is_refused(wrong):
    with pytest.raises(ConfigurationError, match=f"sift={wrong!r} is no retrieval metric; valid: hit, recall"):
        sift_of(wrong)
    assert sift_of(False) is None
    assert sift_of("ndcg@5").metric == "ndcg@5"


def test_trials_that_differ_only_in_the_answer_share_a_retrieval(settings: Settings):
    factors = {
        "top_k": [1, 3],
        "temperature": [0, 1],
        "prompt": "{context_str} {query_str}",
        "reranker": ["none", "llm"],
    }
    space = SearchSpace(["bm25", "mmr"], ["llm-small@x", "llm-large@x"], ["embed-small@x"], {"bm25": factors})
    prepared = ExperimentSpec(space, GOLDEN, metrics=["token_f1"], sift=True).prepare(settings)
    shared = {
        (each.trial.query_engine_identifier, each.trial.llm_identifier, each.trial.parameters["top_k"]): len(
            each.trials
        )
        for each in retrievals_of(prepared)
    }
    assert shared == {
        ("mmr", "", 4): 2,
        **{("bm25", "", k): 4 for k in (1, 3)},
        **{("bm25", llm, k): 2 for k in (1, 3) for llm in ("llm-small@x", "llm-large@x")},
    }


def test_leaderboard_and_report_tell_of_it(birds: Birds):
    outcome, compared = birds.outcome, compare(birds.outcome)
    told = "1 of 2 retrieval combinations remain, and 2 of 4 trials were left out."
    assert told in comparison_text(compared, leaderboard_of(compared, outcome))
    page = report_html(outcome, compared)
    assert "What was left out before the trials" in page and "-0.667 [" in page


def test_a_sift_of_a_random_sample(settings: Settings):
    """What is asked for, and kept, is the whole of it: space, sample and sift."""
    space = replace(WORDS, parameters={"bm25": {"top_k": [1, 3], "temperature": [0, 0.2, 0.4, 0.6, 0.8, 1]}})
    search = {"by": "random", "trials": 6, "seed": 1}
    outcome, lines = run(settings, "drawn", space, search=search)
    drawn = chosen(space.trials(), search_of(search))
    assert {t.id for t in (*outcome.manifest.trials, *outcome.manifest.sift.left_out)} == {trial.id for trial in drawn}
    assert outcome.manifest.search == Search("random", 6, 1, 12)
    assert "6 of 12 combinations were drawn at random (seed 1)" in lines
    assert outcome.manifest.search.summary in compare(outcome).notes
    assert load_experiment("drawn", settings) == outcome
    again, _ = run(settings, "drawn", space, search=search, resume="drawn")
    assert again.results == outcome.results
    with pytest.raises(ConfigurationError, match="the search"):
        run(settings, "drawn", space, search={**search, "seed": 2}, resume="drawn")


@pytest.mark.ray
@pytest.mark.skipif(os.environ.get("LONG_BAD_DAYS") != "1", reason="two runs of Ray Tune: LONG_BAD_DAYS=1")
def test_both_engines_sift_alike(request: pytest.FixtureRequest, tmp_path):
    request.getfixturevalue("on_ray")
    lab: Lab = request.getfixturevalue("ray_lab")
    places = {f"DREAM_{name}_URI": str(tmp_path / name) for name in ("DOCUMENTS", "EXPERIMENTS")}
    settings = lab.changed(**places)
    write_documents(settings, BIRDS)
    on_ray, lines = run(settings, "on-ray", engine="ray")
    elsewhere = replace(settings, experiments_uri=str(tmp_path / "elsewhere"))
    here, _ = run(elsewhere, "here")
    assert "engine: ray" in lines and [result.error for result in on_ray.results] == [None, None]
    assert on_ray.manifest.sift == here.manifest.sift
    assert len(here.manifest.sift.left_out) == 2
