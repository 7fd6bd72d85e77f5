"""The sift: what it scores and leaves out, what it asks of models, and that it is made once.

Each question's evidence is in three files. Search by words finds all of them with `top_k` 3 and a third with `top_k` 1.
"""

import json
from collections.abc import Callable
from dataclasses import replace

import pytest
from lab import Lab
from llama_index.core.query_engine import CustomQueryEngine
from model_servers import ModelServer

from dream.comparison.comparison import compare, comparison_text, leaderboard_of
from dream.errors import ConfigurationError
from dream.experiments.planning import plan
from dream.experiments.run import run_experiment
from dream.experiments.sift import retrievals_of, sift_of
from dream.experiments.spec import ExperimentSpec
from dream.experiments.store import load_experiment
from dream.metrics import METRICS_WITH_CUTOFF
from dream.rag.methods import own_system, rag_method
from dream.rag.search_space import SearchSpace
from dream.rag.search_spaces import JoinedSpace
from dream.records import ExperimentResult, GoldenDataset, GoldenQuestion, Source
from dream.reporting import report_html
from dream.settings import Settings
from dream.storage import open_storage

pytestmark = [pytest.mark.whole, pytest.mark.usefixtures("registered_methods")]

BIRDS = (
    "kestrel", "dunlin", "osprey", "curlew", "plover", "avocet", "gannet", "fulmar", "petrel", "merlin", "siskin",
    "bittern",
)  # fmt: skip
PLACES = ("harbour", "lighthouse", "reservoir")
QUESTIONS = tuple(
    GoldenQuestion(bird, f"Where was the {bird} seen?", f"At {' and '.join(PLACES)}.",
                   sources=tuple(Source(f"{bird}-{place}.txt") for place in PLACES))
    for bird in BIRDS
)  # fmt: skip
GOLDEN = GoldenDataset(QUESTIONS)
WORDS = SearchSpace(["bm25"], ["llm-small@x"], ["embed-small@x"], {"bm25": {"top_k": [1, 3], "temperature": [0, 0.5]}})


@pytest.fixture
def settings(model_server: ModelServer, tmp_path) -> Settings:
    made = Settings.from_environment(
        {
            "DREAM_HOME": str(tmp_path / "home"),
            "DREAM_ENDPOINT_X_BASE_URL": model_server.base_url,
            "DREAM_ENDPOINT_X_API_KEY": model_server.key,
            "DREAM_LLMS": "llm-small@x",
            "DREAM_EMBED_MODELS": "embed-small@x",
            "DREAM_JUDGE_LLM": "judge@x",
            "DREAM_JUDGE_EMBED_MODEL": "embed-large@x",
            "MLFLOW_TRACKING_URI": "http://127.0.0.1:9",
        }
    )
    write_documents(made)
    return made


def write_documents(settings: Settings) -> None:
    storage = open_storage(settings.documents_uri, settings)
    storage.ensure()
    for bird in BIRDS:
        for place in PLACES:
            storage.write_bytes(f"{bird}-{place}.txt", f"A {bird} rested by the old {place} at dawn.".encode())


def run(
    settings: Settings, name: str, space=WORDS, on_line: Callable[[str], None] = lambda line: None, **options
) -> tuple[ExperimentResult, str]:
    lines: list[str] = []

    def show(line: str) -> None:
        lines.append(line)
        on_line(line)

    given = {"golden_dataset": GOLDEN, "metrics": ["token_f1"], "sift": True, "engine": "in_process", **options}
    return run_experiment(space, name=name, settings=settings, show=show, **given), "\n".join(lines)


def test_trials_of_worse_retrieval_are_left_out_before_any_answer_is_paid(settings: Settings, model_server):
    asked: list[int] = []
    outcome, lines = run(
        settings, "birds", on_line=lambda line: asked.append(model_server.chat_calls()) if "Sifted by" in line else None
    )
    everything = WORDS.trials()
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
    assert "1 of 2 retrieval combinations went on, and 2 of 4 trials were left out" in lines
    checks = sum(row.sent for row in outcome.usage if row.stage == "check" and row.model != "embed-small")
    assert asked == [checks]  # nothing but the check of the models
    assert model_server.chat_calls() == checks + 2 * 12
    assert {row.stage for row in outcome.usage} == {"check", "answer"}  # search by words embeds nothing
    assert outcome.manifest.plan.n_trials == 2
    assert load_experiment("birds", settings) == outcome


def test_the_scores_of_each_question_are_kept(settings: Settings):
    outcome, _ = run(settings, "birds")
    storage = open_storage(settings.experiments_uri, settings)
    worse = outcome.manifest.sift.retrievals[1]
    kept = json.loads(storage.read_bytes(f"birds/sift/{worse.trial.id}.json"))
    assert (kept["answers"], kept["config"]["llm_identifier"]) == ([], "")
    recall = {score["question_id"]: score["value"] for score in kept["scores"] if score["metric"] == "recall"}
    assert recall == {bird: pytest.approx(1 / 3) for bird in BIRDS}


def test_the_same_again_takes_the_sift_over_and_pays_nothing(settings: Settings, model_server):
    first, _ = run(settings, "birds")
    model_server.reset()
    again, lines = run(settings, "again")
    assert model_server.counters()["by_path"] == {}
    assert again.manifest.sift == first.manifest.sift
    assert "the sift of birds is taken over" in lines and "sifting" not in lines
    by_ndcg, lines = run(settings, "by ndcg".replace(" ", "-"), sift="ndcg")
    assert by_ndcg.manifest.sift.metric == "ndcg" and "sifting" in lines


def test_a_resumed_experiment_keeps_the_verdict(settings: Settings):
    halted, _ = run(replace(settings, budget=replace(settings.budget, calls=5)), "birds")
    assert halted.stopped and halted.manifest.sift.is_done
    resumed, lines = run(settings, "ignored", None, resume="birds", name=None, golden_dataset=None, sift=False)
    assert "sifting" not in lines
    assert resumed.manifest.sift == halted.manifest.sift
    assert [result.error for result in resumed.results] == [None, None]
    run(settings, "birds", resume="birds")  # asked for as it was
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


def test_only_embeddings_are_paid_and_once(settings: Settings):
    space = SearchSpace(
        ["chunks_with_overlap"], ["llm-small@x", "llm-large@x"], ["embed-small@x"],
        {"chunks_with_overlap": {"top_k": [1, 3]}},
    )  # fmt: skip
    outcome, _ = run(settings, "birds", space)
    rows = {(row.model, row.stage): row for row in outcome.usage if row.stage != "check" and not row.trial}
    assert set(rows) == {("embed-small", "embed"), ("embed-small", "sift")}
    assert (rows["embed-small", "sift"].calls, rows["embed-small", "sift"].sent) == (24, 12)
    queries = [row for row in outcome.usage if row.stage == "query"]
    assert [(row.calls, row.sent) for row in queries] == [(12, 0), (12, 0)]  # one for each LLM


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
    assert "the LLM may be asked in 4 of these combinations" in text
    assert "for the indexes and the sift; with all trials, if none is sifted out" in text
    outcome, _ = run(settings, "birds", space)
    made = {(f"{row.model}@x", row.stage): row.calls for row in outcome.usage if not row.trial and row.stage == "sift"}
    assert made["llm-small@x", "sift"] == 2 * 12 and made["embed-small@x", "sift"] <= calls["embed-small@x", "sift"][0]


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
    reasons = {"it is a system of its own, which answers as a whole", "it reads whole documents"}
    assert set(sift.untried.values()) == reasons
    (unscored,) = [each for each in sift.retrievals if not each.means]
    assert unscored.goes_on
    assert "it could not be scored: no score: ConfigurationError: a Engine cannot retrieve" in unscored.reason
    assert "2 further trials could not be sifted, and went on." in lines


def test_a_single_retrieval_needs_no_sift(settings: Settings, model_server):
    space = replace(WORDS, parameters={"bm25": {"temperature": [0, 0.5]}})
    outcome, lines = run(settings, "birds", space)
    assert len(outcome.results) == 2 and "sifting" not in lines
    assert outcome.manifest.sift.retrievals[0].reason == "it is the only retrieval combination"


def test_questions_without_evidence_are_not_asked_in_the_sift(settings: Settings):
    golden = GoldenDataset((*QUESTIONS[:11], replace(QUESTIONS[11], sources=())))
    outcome, _ = run(settings, "birds", golden_dataset=golden)
    assert outcome.manifest.sift.n_questions == 11
    assert {len(result.answers) for result in outcome.results} == {12}


@pytest.mark.parametrize("make", [plan, run_experiment])
def test_without_any_evidence_nothing_is_asked(settings: Settings, model_server, make):
    golden = GoldenDataset(tuple(replace(question, sources=()) for question in QUESTIONS))
    with pytest.raises(ConfigurationError, match=r"there is none: evidence of 0 of 12 questions .* or run without"):
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


def test_leaderboard_and_report_tell_of_it(settings: Settings):
    outcome, _ = run(settings, "birds")
    compared = compare(outcome)
    told = "1 of 2 retrieval combinations went on, and 2 of 4 trials were left out."
    assert told in comparison_text(compared, leaderboard_of(compared, outcome))
    page = report_html(outcome, compared)
    assert "What was left out before the trials" in page and "-0.667 [" in page


def test_on_the_command_line(dream_in_lab, lab: Lab, tmp_path, monkeypatch: pytest.MonkeyPatch):
    for name in ("cache", "documents", "experiments"):
        monkeypatch.setenv(f"DREAM_{name.upper()}_URI", str(tmp_path / name))
    write_documents(lab.changed(DREAM_DOCUMENTS_URI=str(tmp_path / "documents")))
    rows = [f'"{q.question}","{q.ground_truth}","{"; ".join(s.file for s in q.sources)}"' for q in QUESTIONS]
    (tmp_path / "birds.csv").write_text("\n".join(["question,ground_truth,source_file", *rows]))
    what = [
        "--golden",
        str(tmp_path / "birds.csv"),
        "--query-engine",
        "bm25",
        "--set",
        "top_k=1,3",
        "--llm",
        "llm-small@x",
    ]
    planned = dream_in_lab("plan", *what, "--metric", "token_f1", "--sift")
    assert planned.code == 0, planned.err
    assert "sift by recall: 2 retrieval combinations of 2 trials" in planned.out
    done = dream_in_lab("run", *what, "--metric", "token_f1", "--sift-metric", "recall@3", "--name", "sifted")
    assert done.code == 0, done.err
    assert "sifted out" in done.out and "1 of 2 retrieval combinations went on" in done.out
    study = tmp_path / "study.yaml"
    study.write_text(
        f"questions: {tmp_path}/birds.csv\nsift: ndcg\nmetrics: [token_f1]\nsystems: [{{method: bm25, top_k: [1, 3]}}]"
    )
    assert "sift by ndcg: 2 retrieval" in dream_in_lab("plan", str(study)).out


@pytest.mark.ray
def test_both_engines_sift_alike(request: pytest.FixtureRequest, tmp_path):
    request.getfixturevalue("on_ray")
    lab: Lab = request.getfixturevalue("ray_lab")
    places = {f"DREAM_{name}_URI": str(tmp_path / name) for name in ("DOCUMENTS", "EXPERIMENTS")}
    settings = lab.changed(**places)
    write_documents(settings)
    on_ray, lines = run(settings, "on-ray", engine="ray")
    elsewhere = replace(settings, experiments_uri=str(tmp_path / "elsewhere"))
    here, _ = run(elsewhere, "here")
    assert "engine: ray" in lines and [result.error for result in on_ray.results] == [None, None]
    assert on_ray.manifest.sift == here.manifest.sift
    assert len(here.manifest.sift.left_out) == 2
