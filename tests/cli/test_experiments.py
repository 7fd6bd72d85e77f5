"""`dream plan`, `dream run` and `dream track` from the command line."""

import re
from pathlib import Path

import pytest
from lab import LAB_DOCUMENTS, Lab, Ran

from dream.experiments import load_experiment
from dream.experiments.store import save_manifest, stop_requests
from dream.records import GoldenDataset, Manifest, Trial
from dream.settings import Settings
from dream.storage import open_storage

CSV = """question,ground_truth
How warm is the water of the well?,It is hot.
Who looks after the turbines?,The crew.
"""
SPACE = ["--query-engine", "chunks_with_overlap", "--llm", "llm-small@x", "--embed-model", "embed-small@x"]


@pytest.fixture
def own_data(tmp_path: Path, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Options for questions and documents that are not those of the settings; their answers go to a cache of their own,
    so that other tests of the lab pay what they expect to."""
    monkeypatch.setenv("DREAM_CACHE_URI", str(tmp_path / "cache"))
    (tmp_path / "two.csv").write_text(CSV)
    (tmp_path / "papers").mkdir()
    (tmp_path / "papers" / "one.pdf").write_bytes((lab.home / "documents" / LAB_DOCUMENTS[0]).read_bytes())
    return ["--golden", "two.csv", "--documents", str(tmp_path / "papers"), *SPACE]


def test_plan_counts_what_the_options_name(dream_in_lab, own_data):
    parameters = ["--set", "top_k=2,3", "--set", "chunks_with_overlap.chunk_size=128,256"]
    done = dream_in_lab("plan", *own_data, *parameters, "--metric", "answer_similarity")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("4 trials x 2 questions, 2 indexes")
    assert "Run a pilot" in done.out


def test_plan_names_the_generation_where_there_are_no_questions_yet(dream, tmp_path):
    documents = tmp_path / "home" / "documents"
    documents.mkdir(parents=True)
    (documents / "dam.txt").write_text("The dam keeps twenty-seven million cubic metres of water for the town. " * 20)
    done = dream("plan")
    assert (done.code, done.err) == (0, "")
    assert "There are no golden questions yet. Generate them with `dream golden`" in done.out
    assert "30 questions from 1 of 1 files: 30 single_hop_specific" in done.out
    named = dream("plan", "--golden", "other")
    assert named.code == 1
    assert "no golden dataset 'other'" in named.err


def test_plan_tells_all_mistakes_in_parameters_at_once(dream, tmp_path):
    (tmp_path / "two.csv").write_text(CSV)
    done = dream("plan", "--golden", "two.csv", "--set", "top_q=3", "--set", "window_size=wide")
    assert done.code == 1
    assert done.err.startswith("dream plan: 2 mistake(s) in --set:\n")
    assert "valid of chunks_with_overlap: chunk_size, chunk_overlap, " in done.err
    assert "window_size=wide: 'wide' cannot be read: give a whole number" in done.err


def test_run_varies_the_parameters_and_reads_the_documents_that_are_named(dream_in_lab, own_data, lab: Lab, tmp_path):
    done = dream_in_lab("run", "--name", "by-hand", *own_data, "--set", "top_k=2,3", "--metric", "answer_similarity")
    assert done.code == 0, done.err
    assert done.out.endswith("\nNext: dream compare by-hand\n")
    experiment = load_experiment("by-hand", lab.settings)
    assert sorted(result.trial.parameters["top_k"] for result in experiment.results) == [2, 3]
    assert [result.error for result in experiment.results] == [None, None]
    again = dream_in_lab("run", "--name", "by-hand", *own_data)
    assert again.code == 1
    assert "dream run --resume by-hand" in again.err


STUDY = """
documents: papers
questions: two.csv
models: {llms: [llm-small@x], embed_models: [embed-small@x]}
systems:
  - {method: chunks_with_overlap, top_k: [2, 3]}
metrics: [answer_similarity]
objective: {maximise: answer_similarity, margin: 0.5}
"""


def test_a_study_file_is_planned_run_kept_and_compared_by_its_objective(dream_in_lab, own_data, lab: Lab, tmp_path):
    (tmp_path / "study.yaml").write_text(STUDY)
    planned = dream_in_lab("plan", "study.yaml")
    assert (planned.code, planned.err) == (0, "")
    assert planned.out.startswith("2 trials x 2 questions, 1 indexes")
    done = dream_in_lab("run", "study.yaml", "--name", "studied")
    assert (done.code, done.err) == (0, "")
    experiment = load_experiment("studied", lab.settings)
    assert sorted(result.trial.parameters["top_k"] for result in experiment.results) == [2, 3]
    assert experiment.manifest.study == STUDY
    compared = dream_in_lab("compare", "studied")
    assert "ranked by answer_similarity" in compared.out
    again = dream_in_lab("run", "study.yaml", "--resume", "studied")
    assert (again.code, again.err) == (0, "")


def test_options_beside_a_study_and_its_mistakes_are_told(dream, tmp_path):
    (tmp_path / "study.yaml").write_text("systems: [sentence_windw]\nmetrics: [x]\n")
    both = dream("plan", "study.yaml", "--golden", "two.csv", "--set", "top_k=3", "--baselines")
    assert both.code == 1
    assert (
        both.err
        == "dream plan: --golden, --set, --baselines cannot be combined with study.yaml: write it into the file\n"
    )
    wrong = dream("run", "study.yaml")
    assert wrong.code == 1
    assert wrong.err.startswith("dream run: 2 mistake(s) in study.yaml:\n  - line 1: unknown method 'sentence_windw'")


def test_track_logs_again_and_nothing_twice(dream_in_lab, small_experiment: Ran):
    runs = [dream_in_lab("track", small_experiment.outcome.name) for _ in range(2)]
    assert [run.code for run in runs] == [0, 0]
    first, second = (re.fullmatch(r"small: MLflow run (\w{32}) at http://127.0.0.1:\d+\n", run.out) for run in runs)
    assert first and second
    assert first[1] == second[1]


def test_track_of_an_unknown_experiment_is_told(dream):
    done = dream("track", "nobody")
    assert done.code == 1
    assert done.err.startswith("dream track: ")
    assert "nobody" in done.err


def test_a_run_sifts_by_what_was_retrieved(dream_in_lab, lab: Lab, small_golden, tmp_path, monkeypatch):
    monkeypatch.setenv("DREAM_CACHE_URI", str(tmp_path / "cache"))
    what = ["--query-engine", "bm25", "--set", "top_k=1,3", "--llm", "llm-small@x", "--metric", "token_f1"]
    planned = dream_in_lab("plan", *what, "--sift")
    assert planned.code == 0, planned.err
    assert "sift by recall: 2 retrieval combinations of 2 trials" in planned.out
    done = dream_in_lab("run", *what, "--sift-metric", "recall@3", "--name", "sifted")
    assert done.code == 0, done.err
    assert "Sifted by recall@3 on " in done.out
    assert load_experiment("sifted", lab.settings).manifest.sift.metric == "recall@3"
    study = tmp_path / "study.yaml"
    study.write_text("sift: ndcg\nmetrics: [token_f1]\nsystems: [{method: bm25, top_k: [1, 3]}]")
    assert "sift by ndcg: 2 retrieval" in dream_in_lab("plan", str(study)).out
    refused = dream_in_lab("run", str(study), "--sift")
    assert refused.code == 1 and "--sift cannot be combined" in refused.err


def test_a_race_without_a_look_is_refused_before_anything_is_sent(dream_in_lab, small_golden):
    for command in ("plan", "run"):
        refused = dream_in_lab(
            command, "--query-engine", "bm25", "--set", "top_k=1,3", "--metric", "token_f1", "--race"
        )
        assert refused.code == 1 and "allow no look before the last question" in refused.err


def test_stop_tells_what_cannot_be_stopped(dream_in_lab, small_experiment: Ran):
    done = dream_in_lab("stop", "small", "nobody", small_experiment.outcome.results[0].trial.id)
    assert done.code == 1
    assert done.err.splitlines() == [
        "dream stop: nothing of 'small' was stopped:",
        "  - the experiment is finished, so there is nothing to stop",
    ]
    unknown = dream_in_lab("stop", "no-such-experiment", "a")
    assert unknown.code == 1 and "no experiment 'no-such-experiment'" in unknown.err
    assert dream_in_lab("stop", "small").code == 2


def test_stop_asks_the_run_to_stop_trials_and_says_how_to_let_them_go_on(dream, tmp_path):
    settings = Settings.from_environment({"DREAM_HOME": str(tmp_path / "home")})
    storage = open_storage(settings.experiments_uri, settings)
    trials = tuple(Trial("mmr", "llm", "embed", {"top_k": k}) for k in (3, 5))
    storage.ensure()
    save_manifest(storage, "mine", Manifest("mine", GoldenDataset(()), ("token_f1",), trials))
    done = dream("stop", "mine", "mmr + llm + embed (top_k=5)")
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines() == [
        f"mine: stopping {trials[1].id} mmr + llm + embed (top_k=5)",
        "The trial ends within seconds and its answers are kept; the others continue.",
        f"To continue it later: dream run --resume mine --restart {trials[1].id}",
    ]
    assert stop_requests(storage, "mine") == {trials[1].id}
