"""Study files: what they become, and how mistakes are told."""

import os
from pathlib import Path

import pytest
import yaml
from jsonschema_rs import Draft202012Validator
from studies import WHOLE

from dream.errors import ConfigurationError
from dream.experiments import read_study
from dream.experiments.study_reader import study_of
from dream.experiments.study_schema import study_schema
from dream.metrics import own_metrics, registry
from dream.records import Search
from dream.settings import Settings

pytestmark = pytest.mark.usefixtures("no_own_metrics")


@pytest.fixture
def no_own_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    """Metrics that a test registers are gone after it."""
    monkeypatch.setattr(registry, "_OWN", {})


NOTHING = Settings.from_environment({})


def trials_of(text: str):
    return study_of(text).spec(NOTHING).search_space.trials()


def test_a_whole_study():
    study = study_of(WHOLE)
    settings, spec = study.applied_to(NOTHING), study.spec(NOTHING)
    assert (settings.documents_uri, settings.engine) == ("s3://documents/contracts", "in_process")
    assert (settings.judge_llm, settings.judge_embed_model) == ("gpt-4o", "text-embedding-3-large")
    assert (settings.generator_llm, settings.budget.usd, settings.budget.calls) == ("gpt-4o", 20, None)
    assert (spec.golden_dataset, spec.metrics) == ("golden", ("answer_correctness", "faithfulness"))
    assert (spec.judge_repeats, spec.judge_repeat_questions, spec.baselines) == (3, 5, True)
    assert (spec.objective.metric, spec.objective.margin) == ("faithfulness", 0.03)
    assert spec.study == WHOLE
    trials = spec.search_space.trials()
    chunks = [t for t in trials if t.query_engine_identifier == "chunks_with_overlap"]
    found = {(t.llm_identifier, t.parameters["chunk_size"], t.parameters["top_k"]) for t in chunks}
    assert found == {
        ("gpt-4o-mini", 256, 2), ("gpt-4o-mini", 512, 2),
        *(("llama-3.1-8b@vllm", size, k) for size in (256, 512) for k in (2, 3, 4) if (size, k) != (512, 4)),
    }  # fmt: skip
    merging = [t for t in trials if t.query_engine_identifier == "hierarchical_automerging"]
    assert {t.llm_identifier for t in merging} == {"gpt-4o"}
    assert {t.parameters["merge_ratio"] for t in merging} == {0.2, 0.4, 0.6}
    assert {t.parameters["chunk_sizes"] for t in merging} == {(1024, 256), (512, 128)}
    assert len([t for t in trials if t.query_engine_identifier == "sentence_window"]) == 2  # its top_k is 12


@pytest.mark.parametrize(("written", "read"), [("true", True), ("false", False), ("recall@5", "recall@5")])
def test_a_sift(written: str, read: bool | str):
    assert study_of(f"sift: {written}\nsystems: [bm25]").spec(NOTHING).sift == read


@pytest.mark.parametrize(
    ("written", "read"), [("true", True), ("false", False), ("{first: 30, block: 10}", {"first": 30, "block": 10})]
)
def test_a_race(written: str, read: bool | dict[str, int]):
    assert study_of(f"race: {written}\nsystems: [bm25]").spec(NOTHING).race == read


def test_mistakes_of_a_race_are_told_together():
    with pytest.raises(ConfigurationError, match=r"line 2: race cannot(.|\n)*'blocks'; valid: first, (.|\n)*error=0.5"):
        study_of("systems: [bm25]\nrace: {blocks: 3, error: 0.5}")


def test_rubrics_and_aspects_stand_among_the_metrics():
    study = study_of("""
systems: [bm25]
metrics:
  - recall
  - name: warmth
    question: How warm is it?
    levels: {1: It is rude., 2: It is cold., 3: It is neutral., 4: It is friendly., 5: It is warm.}
  - {name: safety, aspect: "Is it safe?"}
  - faithfulness
objective: {maximise: warmth}
""")
    assert study.options["metrics"] == ("recall", "warmth", "safety", "faithfulness")
    warmth, safety = own_metrics(("warmth", "safety"))
    assert (warmth.rubric[0], warmth.rubric[-1], warmth.bounds) == ("It is rude.", "It is warm.", (1, 5))
    assert (warmth.question, warmth.range) == ("How warm is it?", "0 to 1 (levels 1 to 5, scaled)")
    assert (safety.criterion, safety.judge_calls) == ("Is it safe?", 1)
    assert study.objective.metric == "warmth"


def test_all_mistakes_in_rubrics_are_told_with_their_lines():
    with pytest.raises(ConfigurationError) as caught:
        study_of("""systems: [bm25]
metrics:
  - {name: cool, levels: [one]}
  - {name: recall, aspect: " "}
  - {name: x y, level: [a, b]}
  - {levels: {1: a, 3: b}}
  - {name: both, levels: [a, b], aspect: "Is it?"}
  - {name: kind, levels: [a, b]}
  - name: kind
    aspect: "Is it kind?"
    question: "Is it kind?"
""")
    told = str(caught.value)
    for mistake in (
        "line 3: levels=['one']: give two to five descriptions",
        "line 4: aspect=' ': give a text",
        "line 4: the name 'recall' is taken",
        "line 5: there is no 'level' here; did you mean levels?",
        "line 5: give levels: (two to five descriptions) or aspect: (a question); neither is given",
        "line 5: the name 'x y' must begin with a letter",
        "line 6: a metric needs a name",
        "line 6: levels={1: 'a', 3: 'b'}: number them 1 (the worst), 2",
        "line 7: give levels: (two to five descriptions) or aspect: (a question); both are given",
        "line 11: an aspect is the question itself: leave question out",
    ):
        assert f"  - {mistake}" in told
    with pytest.raises(ConfigurationError, match="line 2: metrics names kind more than once"):
        study_of('systems: [bm25]\nmetrics: [{name: kind, levels: [a, b]}, {name: kind, aspect: "Is it?"}]')


def test_a_sift_by_another_metric_is_a_mistake():
    with pytest.raises(ConfigurationError, match=r"line 1: sift='faithfulness' is no retrieval metric; valid: hit,"):
        study_of("sift: faithfulness\nsystems: [bm25]")


def test_a_search():
    study = study_of("search: {by: random, trials: 3, seed: 7}\nsystems: [{method: bm25, top_k: {from: 1, to: 9}}]")
    assert study.spec(NOTHING).search == Search("random", 3, 7)
    with pytest.raises(
        ConfigurationError, match=r"line 2: 2 mistake\(s\) in the search:\s+- by='anneal'; valid: grid, ra"
    ):
        study_of("systems: [bm25]\nsearch: {by: anneal, trials: 0}")
    with pytest.raises(ConfigurationError, match="there is no 'trails' here; did you mean trials"):
        study_of("search: {by: random, trails: 3}\nsystems: [bm25]")


def test_one_line_is_enough_and_the_rest_are_the_defaults():
    spec = study_of("systems: [sentence_window]").spec(NOTHING)
    assert len(spec.search_space.trials()) == len(NOTHING.llms) * len(NOTHING.embed_models)
    assert (spec.metrics, spec.golden_dataset, spec.baselines, spec.objective.margin) == (None, None, False, None)


def test_the_same_trial_of_two_systems_is_one():
    systems = "systems: [{method: sentence_window, top_k: [6, 12]}, {method: [sentence_window, chunks_with_overlap]}]"
    assert len(trials_of(systems)) == 3 * len(NOTHING.llms) * len(NOTHING.embed_models)


def test_anchors_and_merge_keys():
    text = "systems:\n  - &base {method: chunks_with_overlap, top_k: 2}\n  - {<<: *base, top_k: 5}"
    assert {trial.parameters["top_k"] for trial in trials_of(text)} == {2, 5}


def test_all_mistakes_are_told_at_once_by_line():
    text = """documets: x
questions: [1]
models:
  llm: gpt
  llms: [a, a]
  judge: gpt-4o
systems:
  - {method: chunks_with_overlp}
  - {method: chunks_with_overlap, top_k: -3, chunk_siz: 3, query_transform: hide}
  - {metod: x}
  - {method: sentence_window, window_size: {from: 3, to: 1}}
  - {method: no_such.module:thing}
  - {method: json:thing}
rules: [{exclude: {topk: 3}}, {forbid: 3}, {require: {when: {top_k: 3}}}]
metrics: [faithfulnes]
objective: {maximise: x, margin: 2}
budget: {usd: -1, calls: lots}
engine: spark
engine: ray
baselines: yes please
judge_repeats: {times: 0}
"""
    with pytest.raises(ConfigurationError) as caught:
        study_of(text, "contracts.yaml")
    headline, *told = str(caught.value).splitlines()
    lines = [int(line.split("line ")[1].split(":")[0]) for line in told]
    assert headline == f"{len(told)} mistake(s) in contracts.yaml:"
    assert lines == sorted(lines)
    assert lines == [1, 2, 4, 5, 6, 8, 9, 9, 9, 10, 11, 12, 13, 14, 14, 14, 15, 16, 16, 17, 17, 19, 20, 21]
    for part in (
        "there is no 'documets' here; did you mean documents?",
        "unknown method 'chunks_with_overlp'; valid: chunks_with_overlap, ",
        "top_k=-3",
        "did you mean chunk_size?",
        "no_such.module:thing: cannot import 'no_such.module': ModuleNotFoundError",
        "json registers no RAG method 'thing'",
        "query_transform='hide' must be none, hyde, multi_query or decompose",
        "unknown metric 'faithfulnes'; valid: faithfulness, ",
        "'engine' occurs twice",
        "margin=2: give a number from 0 to 1",
        "calls='lots': give a number above 0",
        "baselines='yes please': give true or false",
    ):
        assert part in str(caught.value)


def test_a_strangers_mistakes_are_told_where_they_stand_and_with_what_was_meant():
    text = """questions: [golden, other]
models:
  llms: gpt-4o-mini, gpt-4o
  judge: {llm: gpt-4o, api_key: a-secret-of-mine}
systems:
  - method: chunk_with_overlap
  - methd: bm25
  - method: hybrid
    top_k: {from: 5, to: 2}
    chunk_size: "512"
    chunk_overlap: 700
    reranker: true
  - {service: ours, endpoint: chatbot, request: {q: "{question}", password: hunter2-hunter2}}
  - method: bm25
    system_prompt: the key is sk-proj-abcdefgh12345678
rules:
  - exclud: {top_k: 3}
  - exclude: {chunk_size: 512}
metrics:
  - recall
  - answer_corectness
  - {name: tone, levels: [bad]}
budget: {USD: 20}
engine: raylet
search: {by: optuna, trial: 5}
sift: recal
"""
    with pytest.raises(ConfigurationError) as caught:
        study_of(text)
    told = str(caught.value)
    for line, part in (
        (1, "questions=['golden', 'other']: give a text"),
        (3, "llms: 'gpt-4o-mini, gpt-4o' contains several names: write llms: [gpt-4o-mini, gpt-4o]"),
        (4, "api_key contains what looks like an API key: keys and passwords stay in the environment"),
        (6, "unknown method 'chunk_with_overlap'; valid: "),
        (7, "there is no 'methd' here; did you mean method?"),
        (9, "{'from': 5, 'to': 2} is not a range"),
        (10, "hybrid: chunk_size='512' must be a whole number"),
        (12, "hybrid: reranker=True must be a text"),
        (13, "password contains what looks like an API key"),
        (15, "system_prompt contains what looks like an API key"),
        (17, "{'exclud': {'top_k': 3}} is not a rule"),
        (21, "unknown metric 'answer_corectness'; valid: "),
        (22, "levels=['bad']: give two to five descriptions"),
        (23, "there is no 'USD' here; did you mean usd?"),
        (24, "engine='raylet': give auto, in_process, ray; did you mean ray?"),
        (25, "there is no 'trial' here; did you mean trials?"),
        (26, "sift='recal' is no retrieval metric; valid: "),
    ):
        assert f"  - line {line}: {part}" in told
    for meant in ("chunks_with_overlap", "exclude", "answer_correctness", "recall"):
        assert f"; did you mean {meant}?" in told
    assert not [secret for secret in ("a-secret-of-mine", "hunter2", "sk-proj") if secret in told]


def test_values_for_anchors_may_stand_aside():
    text = "x-sizes: &sizes {chunk_size: 256, top_k: [2, 3]}\nsystems: [{method: bm25, <<: *sizes}]"
    assert {trial.parameters["top_k"] for trial in trials_of(text)} == {2, 3}
    assert not list(Draft202012Validator(study_schema()).iter_errors(yaml.safe_load(text)))


def test_a_key_of_the_settings_is_not_kept_with_the_experiment():
    settings = Settings.from_environment({"OPENAI_API_KEY": "our-own-key-of-no-known-form"})
    study = study_of("systems: [bm25]  # with our-own-key-of-no-known-form")
    with pytest.raises(ConfigurationError, match=r"study\.yaml contains an API key of the settings") as caught:
        study.spec(settings)
    assert "our-own-key" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "study.yaml has no keys: write at least `systems:`"),
        ("- a", "study.yaml has no keys"),
        (
            "systems:\n\t- bm25",
            "line 2, column 1: found character '\\t' that cannot start any token; indent with spaces",
        ),
        ("a: [", "study.yaml is not valid YAML: line 1, column 5"),
        ("x: !!python/name:os.system ''", "study.yaml is not valid YAML: line 1"),
        ("systems: []", "line 1: systems=[]: list the RAG systems"),
        ("systems: [{method: sentence_window, top_k: {from: 1, to: 100000}}]", "has 100,000 values"),
        (
            "systems: [sentence_window]\nrules: [{exclude: {method: sentence_window}}]",
            "line 2: this rule excludes every trial",
        ),
    ],
)
def test_what_is_no_study(text: str, message: str):
    with pytest.raises(ConfigurationError) as caught:
        trials_of(text)
    assert message in str(caught.value)


def test_models_are_checked_against_the_endpoints_by_line():
    study = study_of("models: {llms: [a@nowhere]}\nsystems:\n  - sentence_window")
    with pytest.raises(ConfigurationError, match=r"line 3: .*no endpoint 'nowhere'"):
        study.spec(NOTHING).search_space.trials(NOTHING)


def test_a_method_of_ones_own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "graph_walks.py").write_text(
        "from dream.rag import rag_method\n\n\n"
        "@rag_method('overlapping_chunks', chunk_size=256, chunk_overlap=32, depth=2)\n"
        "def graph_walk(index, llm, *, depth):\n    ...\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    trials = trials_of("systems: [{method: 'graph_walks:graph_walk', depth: {from: 1, to: 4}}]")
    assert {trial.parameters["depth"] for trial in trials} == {1, 2, 3, 4}


def test_factors_that_methods_share_are_varied_and_named_in_rules():
    text = """
models: {llms: [a], embed_models: [e]}
systems:
  - {method: hybrid, reranker: [none, llm, bge@tei], query_transform: [none, hyde], top_k: [3, 5]}
rules:
  - exclude: {reranker: none, top_k: 5}
  - require: {when: {query_transform: hyde}, then: {reranker: none}}
"""
    found = [
        (t.parameters.get("reranker"), t.parameters.get("query_transform"), t.parameters["top_k"])
        for t in trials_of(text)
    ]
    assert set(found) == {
        (None, "hyde", 3), (None, None, 3), ("bge@tei", None, 3), ("bge@tei", None, 5), ("llm", None, 3),
        ("llm", None, 5),
    }  # fmt: skip


def test_a_service_is_a_system_without_models():
    text = """
models: {llms: [a, b], embed_models: [e]}
systems:
  - {service: our_rag, endpoint: ours, path: /ask, answer: result, contexts: sources.text, incumbent: true}
"""
    (trial,) = trials_of(text)
    assert (trial.query_engine_identifier, trial.llm_identifier, trial.parameters) == (
        "our_rag",
        "",
        {"incumbent": True},
    )
    with pytest.raises(ConfigurationError) as caught:
        study_of("systems: [{service: our rag, endpoint: x}, {service: a}, {service: b, endpoint: x, request: {q: 1}}]")
    for part in (
        "name='our rag': use letters",
        "give service: a name, and endpoint",
        "lacks the placeholder '{question}'",
    ):
        assert part in str(caught.value)


def test_endpoints_that_the_settings_lack_are_told_with_all_other_mistakes():
    text = """
models: {llms: [gpt-4o, a@tei], judge: {llm: judge@vllm}}
systems:
  - {method: chunks_with_overlap, reranker: [none, rerank@jina], chunk_size: -4}
  - {method: bm25, llms: [b@tei]}
  - {service: ours, endpoint: rag}
metrics: [faithfulnes]
"""
    settings = Settings.from_environment({"DREAM_ENDPOINT_VLLM_BASE_URL": "http://vllm:8000/v1"})
    with pytest.raises(ConfigurationError) as caught:
        study_of(text, settings=settings)
    told = [line.strip(" -").partition(":") for line in str(caught.value).splitlines()[1:]]
    lines = [line for line, *_ in told]
    assert lines == [f"line {n}" for n in (2, 2, 2, 3, 4, 4, 5, 6, 7)]  # embedding models are those of the settings
    for name in (
        "'gpt-4o'",
        "no endpoint 'tei'",
        "'text-embedding-3",
        "'rerank@jina'",
        "chunk_size=-4",
        "'b@tei'",
        "'ours'",
    ):
        assert name in str(caught.value)
    with pytest.raises(ConfigurationError, match=r"^2 mistake\(s\)"):
        study_of(text)
    plain = study_of("systems: [{method: bm25, llms: [b@vllm]}]\nmodels: {judge: {llm: b@vllm, embed_model: e@vllm}}")
    assert study_of(plain.text, settings=settings) == plain


def test_files_that_cannot_be_read(tmp_path: Path):
    with pytest.raises(ConfigurationError, match=r"nowhere\.yaml' cannot be read: No such file"):
        read_study(tmp_path / "nowhere.yaml")
    (tmp_path / "latin.yaml").write_bytes("systems: [sentence_window] # für".encode("latin-1"))
    with pytest.raises(ConfigurationError, match="is not UTF-8, at byte "):
        read_study(os.fspath(tmp_path / "latin.yaml"))
    (tmp_path / "bom.yaml").write_bytes(b"\xef\xbb\xbfsystems: [sentence_window]")
    assert read_study(tmp_path / "bom.yaml").name == "bom.yaml"
