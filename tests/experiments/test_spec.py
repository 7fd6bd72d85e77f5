"""An experiment as it is asked for: mistakes are named before anything runs, and a resumed one stays what it was."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dream.errors import ConfigurationError, DataError
from dream.experiments.spec import ExperimentSpec, PreparedExperiment, as_spec, slice_of
from dream.metrics import METRICS
from dream.rag.search_space import SearchSpace
from dream.records import JUDGED_ONCE, GoldenDataset, GoldenQuestion, Manifest, Repeats, Source
from dream.settings import Settings

SPACE = SearchSpace(["chunks_with_overlap"], ["offline/llm-small"], ["offline/embed-small"])
LARGER = replace(SPACE, llms=["offline/llm-small", "offline/llm-large"])
QUESTIONS = tuple(
    GoldenQuestion(f"q{place}", f"Question {place}?", "Truth.", ("A context.",), (Source(f"{place % 2}.txt"),))
    for place in range(6)
)
GOLDEN = GoldenDataset(QUESTIONS)
SPEC = ExperimentSpec(SPACE, GOLDEN, metrics=["answer_correctness", "context_recall"])


def test_what_is_not_given_has_its_default(documents: Settings):
    prepared = ExperimentSpec(SPACE, GOLDEN).prepare(documents)
    context = prepared.context
    assert prepared.trials == SPACE.trials()
    assert (context.metrics, context.strictness, context.repeats) == (METRICS, 1, JUDGED_ONCE)
    assert (context.judge_llm, context.judge_embed_model) == (documents.judge_llm, documents.judge_embed_model)
    assert (prepared.documents.uri, len(prepared.documents.digest)) == (documents.documents_uri, 64)
    assert (prepared.baselines, prepared.notes) == ((), ())


def test_evidence_is_found_before_anything_is_asked(documents: Settings):
    text = "Ida Brandt tunes the harbour organ."
    golden = GoldenDataset(
        (
            GoldenQuestion("a", "Who?", "Ida.", (f"{text} {text}",), (Source("town.txt"),)),
            GoldenQuestion("b", "Who?", "Nobody.", (), (Source("gone.txt"),)),
        )
    )
    prepared = ExperimentSpec(SPACE, golden, metrics=["recall@5", "mrr"]).prepare(documents)
    assert {name: bool(found.places) for name, found in prepared.context.evidence.items()} == {"a": True, "b": False}
    assert prepared.notes == (
        "recall@5, mrr: evidence of 1 of 2 questions can be matched (1 by text); not of 1: no document is called "
        "'gone.txt'",
    )
    with pytest.raises(ConfigurationError, match=r"no document is called 'gone\.txt'"):
        ExperimentSpec(SPACE, GoldenDataset(golden.questions[1:]), metrics=["mrr"]).prepare(documents)


def test_baselines_are_run_beside_the_trials_and_judged_once(documents: Settings):
    spec = replace(SPEC, search_space=LARGER, baselines=True, judge_repeats=3, judge_repeat_questions=2)
    prepared = spec.prepare(documents)
    assert len(prepared.trials) == 2
    assert [trial.name for trial in prepared.baselines] == [
        "closed_book + offline/llm-small",
        "oracle + offline/llm-small",
        "closed_book + offline/llm-large",
        "oracle + offline/llm-large",
    ]
    assert prepared.everything == (*prepared.trials, *prepared.baselines)
    assert prepared.context.repeats_of(prepared.trials[0]) == Repeats(3, ("q0", "q1"))
    assert prepared.context.repeats_of(prepared.baselines[0]) == JUDGED_ONCE


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"search_space": replace(SPACE, query_engines=["nope"], llms=["llm@nowhere"])}, ["'nope'", "'nowhere'"]),
        ({"metrics": ["bleu"]}, ["bleu"]),
        ({"metrics": []}, ["faithfulness"]),
        ({"strictness": 0}, ["strictness=0"]),
        ({"judge_repeats": 0}, ["judge_repeats=0"]),
        ({"judge_repeat_questions": 0}, ["judge_repeat_questions=0"]),
        ({"judge_repeats": 2, "metrics": ["answer_similarity"]}, ["judge_repeats=2", "answer_similarity"]),
        ({"baselines": True, "metrics": ["context_recall"]}, ["context_recall", "answer_correctness"]),
    ],
)
def test_a_mistake_is_named_with_its_value(documents: Settings, change: dict[str, Any], named: Sequence[str]):
    with pytest.raises(ConfigurationError) as caught:
        replace(SPEC, **change).prepare(documents)
    assert [name for name in named if name not in str(caught.value)] == []


def test_both_models_of_the_judge_are_checked_at_once(documents: Settings):
    settings = replace(documents, judge_llm="judge@nowhere", judge_embed_model="embed@nobody")
    with pytest.raises(ConfigurationError) as caught:
        SPEC.prepare(settings)
    assert "'nowhere'" in str(caught.value) and "'nobody'" in str(caught.value)


def test_questions_and_documents_that_are_not_there_are_refused(documents: Settings, tmp_path: Path):
    with pytest.raises(DataError, match="'nobody_made'"):
        replace(SPEC, golden_dataset="nobody_made").prepare(documents)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(DataError, match=str(empty)):
        replace(SPEC, documents_uri=str(empty)).prepare(documents)


@pytest.fixture
def before(documents: Settings) -> Manifest:
    """The manifest of an experiment that was started from SPEC."""
    return started(SPEC.prepare(documents))


def started(prepared: PreparedExperiment) -> Manifest:
    context = prepared.context
    return Manifest(
        "then",
        context.golden_dataset,
        tuple(context.metrics),
        prepared.trials,
        prepared.baselines,
        context.judge_llm,
        context.judge_embed_model,
        context.strictness,
        context.repeats,
        prepared.documents,
    )


CHANGES = {
    "trials": {"search_space": LARGER},
    "questions": {"golden_dataset": GoldenDataset(QUESTIONS[::-1])},
    "metrics": {"metrics": ["answer_correctness"]},
    "strictness": {"strictness": 3},
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_resumed_experiment_refuses_each_argument_that_was_changed(before: Manifest, documents: Settings, name: str):
    with pytest.raises(ConfigurationError) as caught:
        ExperimentSpec(**CHANGES[name]).prepare_again(before, documents)
    headline, *changed = str(caught.value).splitlines()
    assert "'then'" in headline
    assert len(changed) == 1 and name in changed[0]


def test_all_that_was_changed_is_named_at_once(before: Manifest, documents: Settings, tmp_path: Path):
    (tmp_path / "others").mkdir()
    (tmp_path / "others/town.txt").write_text("Another text altogether. " * 30)
    everything = {name: value for change in CHANGES.values() for name, value in change.items()}
    with pytest.raises(ConfigurationError) as caught:
        ExperimentSpec(**everything, documents_uri=str(tmp_path / "others")).prepare_again(before, documents)
    changed = str(caught.value).splitlines()[1:]
    assert len(changed) == 5
    assert all(any(name in line for line in changed) for name in ("documents", *CHANGES))


def test_documents_that_changed_in_their_place_are_refused(before: Manifest, documents: Settings):
    path = Path(documents.documents_uri) / "town.txt"
    path.write_text(path.read_text() + "One sentence more.")
    with pytest.raises(ConfigurationError, match="the documents"):
        ExperimentSpec().prepare_again(before, documents)


def test_a_resumed_experiment_takes_what_it_was_started_with(before: Manifest, documents: Settings):
    later = replace(documents, judge_llm="offline/llm-large", documents_uri="elsewhere")
    prepared = ExperimentSpec().prepare_again(before, later)
    assert started(prepared) == before
    same = ExperimentSpec(SPACE, GOLDEN, metrics=["context_recall", "answer_correctness"], strictness=1)
    assert started(same.prepare_again(before, later)) == before  # also in another order


def test_documents_may_lie_elsewhere_if_they_are_the_same(before: Manifest, documents: Settings, tmp_path: Path):
    copied = tmp_path / "copied"
    copied.mkdir()
    (copied / "town.txt").write_bytes((Path(documents.documents_uri) / "town.txt").read_bytes())
    prepared = ExperimentSpec(documents_uri=str(copied)).prepare_again(before, documents)
    assert (prepared.documents.uri, prepared.documents.digest) == (str(copied), before.documents.digest)


def test_repeats_and_baselines_can_be_added_and_stay(before: Manifest, documents: Settings):
    added = ExperimentSpec(judge_repeats=2, judge_repeat_questions=4, baselines=True).prepare_again(before, documents)
    manifest = added.manifest_again(before)
    assert (manifest.repeats, len(manifest.baselines)) == (Repeats(2, ("q0", "q1", "q2", "q3")), 2)
    assert replace(manifest, repeats=before.repeats, baselines=before.baselines) == before
    assert started(ExperimentSpec().prepare_again(manifest, documents)) == manifest
    with pytest.raises(ConfigurationError, match="judge_repeats=-2"):
        ExperimentSpec(judge_repeats=-2).prepare_again(manifest, documents)


def test_a_spec_is_given_whole_or_in_parts():
    assert as_spec(SPEC, {}) is SPEC
    assert as_spec(SPACE, {"baselines": True}) == ExperimentSpec(SPACE, baselines=True)
    assert as_spec(None, {"search_space": SPACE, "strictness": 3}) == ExperimentSpec(SPACE, strictness=3)
    with pytest.raises(TypeError, match="metrics cannot be combined with an ExperimentSpec"):
        as_spec(SPEC, {"metrics": ["faithfulness"]})
    with pytest.raises(TypeError, match=r"metric, seed; an experiment has: search_space, golden_dataset"):
        as_spec(SPACE, {"metric": "faithfulness", "seed": 1})


def test_every_trial_is_asked_all_questions_and_the_oracle_those_with_contexts(documents: Settings):
    some = GoldenDataset((replace(QUESTIONS[0], reference_contexts=()), *QUESTIONS[1:]))
    prepared = replace(SPEC, golden_dataset=some, baselines=True).prepare(documents)
    closed_book, oracle = prepared.baselines
    assert len(prepared.questions_of(prepared.trials[0])) == len(prepared.questions_of(closed_book)) == 6
    assert prepared.questions_of(oracle) == some.questions[1:]
    assert any(line.startswith("1 of 6 questions") for line in prepared.notes)


def test_a_slice_takes_every_document_before_it_takes_one_twice():
    files = [["x.pdf"]] * 5 + [["y.pdf"]] * 2 + [["z.pdf", "x.pdf"]]
    questions = [
        GoldenQuestion(str(row), "?", "!", sources=tuple(map(Source, names))) for row, names in enumerate(files)
    ]
    assert slice_of(questions, 3) == ("0", "5", "7")
    assert slice_of(questions, 6) == ("0", "1", "2", "5", "6", "7")
    assert slice_of(questions, 100) == tuple("01234567")
    assert slice_of([GoldenQuestion(str(place), "?", "!") for place in range(4)], 2) == ("0", "1")
