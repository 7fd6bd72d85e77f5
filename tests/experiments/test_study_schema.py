"""The schema of study files accepts what the reader accepts."""

import pytest
import yaml
from jsonschema_rs import Draft202012Validator
from studies import WHOLE

from dream.experiments.study_schema import study_schema


def errors(text: str) -> list[str]:
    validator = Draft202012Validator(study_schema())
    return [error.message for error in validator.iter_errors(yaml.safe_load(text))]


RUBRICS = """
systems: [bm25]
metrics:
  - recall@5
  - {name: tone, levels: [It is rude., It is friendly.]}
  - {name: safe, aspect: "Is it safe?", low_value: It hurts.}
  - {name: scale, levels: {"1": bad, "2": good}, question: "How good is it?"}
objective: {maximise: tone}
"""


@pytest.mark.parametrize(
    "text", [WHOLE, RUBRICS, "systems: [sentence_window]", "systems: [{method: 'a.b:c', depth: 3}]"]
)
def test_a_study_is_valid(text: str):
    assert errors(text) == []


@pytest.mark.parametrize(
    "text",
    [
        "documents: x",
        "systems: [sentence_windw]",
        "systems: [{method: sentence_window, top_q: 3}]",
        "systems: [sentence_window]\nmetrics: [faithfulnes]",
        "systems: [sentence_window]\nmetrics: [{name: tone, levels: [It is rude.]}]",
        "systems: [sentence_window]\nmetrics: [{name: tone, levels: {'0': bad, '1': good}}]",
        "systems: [sentence_window]\nmetrics: [{name: safe, aspects: 'Is it?'}]",
        "systems: [sentence_window]\nbudget: {usd: 0}",
        "systems: [sentence_window]\nsift: faithfulness",
        "systems: [sentence_window]\nrace: {blocks: 3}",
        "systems: [sentence_window]\nrace: {error: 0.5}",
        "systems: [sentence_window]\nsearch: {by: anneal}",
        "systems: [sentence_window]\nrules: [{exclude: {topk: 3}}]",
    ],
)
def test_a_mistake_is_marked(text: str):
    assert errors(text)
