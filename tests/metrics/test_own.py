"""Metrics of one's own: registered under a name, refused with every mistake, and pickled with their code."""

import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from dream.errors import ConfigurationError
from dream.metrics import (
    Metric,
    aspect_critic,
    check_metrics,
    definition_of,
    explanation_rows,
    find_metric,
    is_judged,
    is_metric,
    known_again,
    metric,
    metric_names,
    names_of,
    own_metrics,
    registry,
    rubric,
)

MODULE = """
from dream.metrics import metric

LIMIT = 3

def words(text):
    return len(text.split())

@metric("Is it short?", meaning="1 up to 3 words, else 0")
def brevity(answer):
    return float(words(answer) <= LIMIT)
"""
PACK = (
    "import brevity_module, pickle, sys; from dream.metrics import own_metrics\n"
    "open(sys.argv[1], 'wb').write(pickle.dumps(own_metrics(['brevity'])))"
)
LOAD = "import pickle, sys\n" \
    "(one,) = pickle.loads(open(sys.argv[1], 'rb').read())\n" \
    "print(one.name, one.function.value('one two three'), one.function.value('one two three four'))"  # fmt: skip


def test_a_function_is_a_metric_with_its_inputs_range_calls_and_texts():
    @metric("Is it brief?", low_value="It rambles.", bounds=(1, 5))
    def brief(answer, ground_truth, contexts):
        """Five minus the number of
        superfluous words.

        Further details.
        """

    found = find_metric("brief")
    assert found.arguments == ("response", "reference", "retrieved_contexts")
    assert (found.needs_answer, found.needs_contexts, found.needs_reference, found.needs_evidence) == (
        True, True, True, False,
    )  # fmt: skip
    assert explanation_rows(["brief"]) == [
        ("brief", "Is it brief?", "Five minus the number of superfluous words.",
         "0 to 1 (1 to 5 of the function, scaled)", "It rambles.")
    ]  # fmt: skip
    assert (is_judged("brief"), len(found.source)) == (False, 64)
    assert "brief" in metric_names()
    check_metrics(["brief", "faithfulness"])
    assert names_of([brief, "mrr", found]) == ("brief", "mrr", "brief")


def test_another_source_has_another_digest():
    digests = set()
    for value in (1, 2):
        exec(f"def own(answer):\n    return {value}", scope := {})  # noqa: S102 - as a shell does
        metric("Is it?", name="typed")(scope["own"])
        digests.add(find_metric("typed").source)
    assert len(digests) == 2


def test_every_mistake_is_told_at_once():
    with pytest.raises(ConfigurationError, match="the metric 'recall' cannot be used") as caught:

        @metric("?", bounds=(1, 1), judge_calls=0)
        def recall(reply, judge):
            return 1

    told = str(caught.value)
    for mistake in (
        "the name 'recall' is taken",
        "bounds=(1, 1)",
        "its parameter 'reply' is none of: question, answer, contexts, ground_truth, evidence, judge",
        "it needs at least one of the parameters answer, contexts and evidence",
        "give the number of calls per answer",
        "write `async def`",
    ):
        assert mistake in told
    for name in ("usd", "my metric", "recall@5", "5star"):
        with pytest.raises(ConfigurationError, match=r"the name .* (is taken|must begin with a letter)"):
            metric("?", name=name)(lambda answer: 1)
    with pytest.raises(ConfigurationError, match="no parameter `judge`"):
        metric("?", name="calls", judge_calls=1)(lambda answer: 1)


def test_a_rubric_and_a_criterion_are_metrics_of_one_call():
    tone = rubric("tone", ["It is rude.", "It is neutral.", "It is friendly."])
    brief = aspect_critic("briefness", "Is it brief?")
    assert [one.calls(strictness=3, passages=9) for one in (tone, brief)] == [1, 1]
    assert "0.5: It is neutral." in tone.meaning
    assert names_of([tone, brief]) == ("tone", "briefness")
    assert tone.source != rubric("tone", ["It is rude.", "It is friendly."]).source
    with pytest.raises(ConfigurationError, match="two to five descriptions"):
        rubric("tone", ["It is fine."])
    with pytest.raises(ConfigurationError, match="the definition is empty"):
        aspect_critic("briefness", " ")


def test_rubrics_of_an_experiment_are_known_again_without_a_module(monkeypatch: pytest.MonkeyPatch):
    tone, brief = rubric("tone", ["It is rude.", "It is friendly."]), aspect_critic("briefness", "Is it brief?")
    metric("Is it short?", name="shortness")(lambda answer: 1)
    before = [tone, brief, *own_metrics(["shortness"])]
    monkeypatch.setattr(registry, "_OWN", {})
    assert known_again(before) == (tone, brief)
    assert is_metric("tone") and not is_metric("shortness")


def test_a_definition_comes_back_from_json_and_is_enough_to_explain_it():
    tone = rubric("tone_in_json", ["It is rude.", "It is friendly."])
    kept = Metric.from_json({**tone.to_json(), "of a later version": 1})
    assert kept == tone
    gone = Metric.from_json({**tone.to_json(), "name": "gone"})
    assert definition_of("gone", [gone]) == gone
    assert explanation_rows(["gone"], [gone])[0][2] == tone.meaning
    assert explanation_rows(["gone"])[0][1] == "unknown"
    assert is_judged("gone")


def test_a_metric_goes_to_a_process_that_does_not_have_its_module(tmp_path: Path):
    (tmp_path / "brevity_module.py").write_text(MODULE, encoding="utf-8")
    packed = tmp_path / "metric"
    for program, folder in ((PACK, tmp_path), (LOAD, tmp_path / "elsewhere")):
        folder.mkdir(exist_ok=True)
        done = subprocess.run(
            [sys.executable, "-c", program, str(packed)], cwd=folder, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["brevity", "1.0", "0.0"]


def test_a_metric_is_named_by_its_module_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "brevity_by_path.py").write_text(MODULE.replace("brevity", "brevity_by_path"), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    assert names_of(["brevity_by_path:brevity_by_path", "mrr"]) == ("brevity_by_path", "mrr")
    with pytest.raises(ConfigurationError, match="brevity_by_path has no metric 'words', made by @metric"):
        names_of(["brevity_by_path:words"])
    with pytest.raises(ConfigurationError, match="no_such_module cannot be imported"):
        names_of(["no_such_module:x"])


def test_a_metric_of_this_module_is_pickled_by_value():
    @metric("Is it short?", name="of_this_module")
    def short(answer):
        return float(len(answer) < 9)

    (loaded,) = pickle.loads(pickle.dumps(own_metrics(["of_this_module"])))
    assert loaded == find_metric("of_this_module")
    assert loaded.function is not None
    assert loaded.function.value("short") == 1
