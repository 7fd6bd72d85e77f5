"""The winner file: what it holds, and every mistake in it at once, with its line."""

from pathlib import Path

import pytest
import yaml
from jsonschema_rs import Draft202012Validator

from dream.errors import ConfigurationError
from dream.serving.promotion import promotion_of, promotion_schema, read_promotion


@pytest.fixture
def text(winner: Path) -> str:
    return winner.read_text(encoding="utf-8")


def test_a_file_is_read_as_it_was_written(measured, winner: Path, text: str):
    promotion = read_promotion(winner)
    assert promotion == measured.promotion()
    assert promotion.as_trial == measured.experiment.results[0].trial
    assert promotion.to_yaml() == text
    assert promotion_of(text.replace("\n", "\r\n")) == promotion


def test_the_schema_takes_what_the_reader_takes(text: str):
    validator = Draft202012Validator(promotion_schema())
    assert list(validator.iter_errors(yaml.safe_load(text))) == []
    wrong = text.replace("top_k:", "top_q:").replace("margin: 0.05", "margin: 5")
    assert [error.message for error in validator.iter_errors(yaml.safe_load(wrong))]


def test_all_mistakes_are_told_at_once_with_their_lines(text: str):
    wrong = (
        text.replace("margin: 0.05", "margin: 1.5")
        .replace("\nllm:", "\nllmm:")
        .replace("number: 12", "number: twelve")
        .replace("method: chunks_with_overlap", "method: chunks_with_overlapp")
        .replace("    failed: 0", "    failled: 0")
    )
    lines = wrong.splitlines()
    with pytest.raises(ConfigurationError) as caught:
        promotion_of(wrong)
    said = str(caught.value)
    for fragment, message in [
        ("margin: 1.5", "margin=1.5: "),
        ("llmm:", "there is no 'llmm' here; did you mean llm?"),
        ("number: twelve", "questions.number='twelve': "),
        ("method:", "unknown method 'chunks_with_overlapp'; valid: chunks_with_overlap, "),
        ("failled", "there is no 'failled' here; did you mean failed?"),
    ]:
        number = next(place for place, line in enumerate(lines, 1) if fragment in line)
        assert f"line {number}: {message}" in said
    assert "llm is missing: write the file with `dream export NAME -o FILE`" in said


TYPOS = [
    ("format: 1", "format: 2"),
    ("format: 1", "formt: 1"),
    ("top_k: 2", "top_k: 0"),
    ("top_k: 2", "top_k: 3"),  # another trial than the one that was scored
    ("top_k: 2", "topk: 2"),
    ("chunk_size: 512", "chunk_size: big"),
    ("llm: offline/llm-large", "llm: offline/llm-small"),
    ("embed_model: offline/embed-small", "embed_model: ''"),
    ("offline: true", "offline: maybe"),
    ("metric: answer_correctness", "metric: answer_corectness"),
    ("strictness: 1", "strictness: 0"),
    ("experiment: measured", "experiment: ''"),
    ("method: chunks_with_overlap", "method: no_such_package.methods:walk"),
    ("method: chunks_with_overlap", "method: [a, b]"),
    ("documents:", "document:"),
    ("questions: 12", "questions: -1"),
    ("mean: ", "mean: high #"),
    ("versions:", "versions: 3\nother:"),
    ("margin: 0.05", "margin: 0.05\nmargin: 0.1"),
    ("margin: 0.05", "margin: [0.05"),
    ("index: ", "index: ''  # "),
    ("trial: ", "trial: f"),
]


@pytest.mark.parametrize(("right", "wrong"), TYPOS)
def test_a_typo_is_told(text: str, right: str, wrong: str):
    assert right in text
    with pytest.raises(ConfigurationError) as caught:
        promotion_of(text.replace(right, wrong, 1))
    assert "line " in str(caught.value)


@pytest.mark.parametrize("text", ["", "[]", "just a text", "3"])
def test_a_file_without_keys_is_told(text: str):
    with pytest.raises(ConfigurationError, match="write the file with `dream export NAME -o FILE`"):
        promotion_of(text)


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path):
    (tmp_path / "latin.yaml").write_bytes(b"method: \xe9")
    for name, message in [("none.yaml", "No such file"), ("latin.yaml", "not UTF-8, at byte 8")]:
        with pytest.raises(ConfigurationError, match=message):
            read_promotion(tmp_path / name)
