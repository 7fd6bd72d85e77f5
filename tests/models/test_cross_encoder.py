"""Cross-encoders in this process: scores against numpy, awkward files, and what is missing."""

import asyncio
from pathlib import Path

import numpy
import pytest
from cross_encoders import write_cross_encoder

from dream.errors import ConfigurationError
from dream.models import cross_encoder
from dream.models.cross_encoder import BATCH_SIZE, CrossEncoder, cross_encoder_picker, cross_encoder_problems, is_local
from dream.models.model_check import check_models
from dream.models.pickers import check_identifiers, endpoint_urls
from dream.runtime.event_loop import run_async
from dream.settings import Settings
from dream.storage import MemoryStorage

WORDS = "the pump is oiled in may and valve painted june geese fly south since when numbers radio a who"
NOTHING = Settings.from_environment({})
QUESTION = "when is the pump oiled"
TEXTS = [
    "The valve is painted in June",
    "The pump is oiled in May",
    "geese fly south " * 30,
    "a word that nobody knows",
    *(f"the {WORDS.split()[n % 18]} and {WORDS.split()[n * 5 % 18]}" for n in range(2 * BATCH_SIZE)),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "model"


def scores(folder: Path | str, texts: list[str], question: str = QUESTION) -> list[float]:
    return run_async(cross_encoder_picker(f"local:{folder}").scores(question, texts))


def by_numpy(vectors: numpy.ndarray, question: str, text: str, most: int = 512) -> float:
    """[CLS] question [SEP] text [SEP], the longer of both cut until they fit."""
    known = dict.fromkeys(WORDS.split())
    ids = {word: n + 4 for n, word in enumerate(known)}
    one, two = ([ids.get(word, 1) for word in each.lower().split()] for each in (question, text))
    while len(one) + len(two) + 3 > most:
        (two if len(two) > len(one) else one).pop()
    means = [vectors[each].sum(axis=0) / n for each, n in ((one, len(one) + 2), (two, len(two) + 1))]
    return float(means[0] @ means[1])


def test_scores_are_those_of_the_network(folder: Path):
    vectors = write_cross_encoder(folder, WORDS)
    expected = [by_numpy(vectors, QUESTION, text) for text in TEXTS]
    assert scores(folder, TEXTS) == pytest.approx(expected, abs=1e-5)
    assert scores(folder, TEXTS) == scores(folder, TEXTS)
    assert scores(folder, []) == []


def test_long_texts_are_cut_to_what_the_model_takes(folder: Path):
    vectors = write_cross_encoder(folder, WORDS, max_length=12)
    expected = [by_numpy(vectors, QUESTION, text, most=12) for text in TEXTS]
    assert scores(folder, TEXTS) == pytest.approx(expected, abs=1e-5)
    assert expected[2] != by_numpy(vectors, QUESTION, TEXTS[2])
    for given, length in ((10**30, 512), (8192, 8192), (0, 512)):
        write_cross_encoder(folder, WORDS, max_length=given)
        assert cross_encoder_picker(f"local:{folder}").max_length == length


def test_of_two_classes_the_second_is_that_of_texts_that_help(folder: Path, tmp_path: Path):
    write_cross_encoder(folder, WORDS)
    write_cross_encoder(tmp_path / "two", WORDS, classes=2)
    assert scores(tmp_path / "two", TEXTS) == pytest.approx(scores(folder, TEXTS))
    write_cross_encoder(tmp_path / "three", WORDS, classes=3)
    with pytest.raises(ConfigurationError, match=r"an array of shape \(16, 3\), but a cross-encoder returns one score"):
        scores(tmp_path / "three", TEXTS)


def test_many_questions_at_once_are_answered_in_a_thread_that_blocks_nothing(folder: Path):
    write_cross_encoder(folder, WORDS)
    encoder, ticks = cross_encoder_picker(f"local:{folder}"), []

    async def ticking() -> None:
        while True:
            ticks.append(1)
            await asyncio.sleep(0)

    async def ask_all() -> list[list[float]]:
        clock = asyncio.ensure_future(ticking())
        found = await asyncio.gather(*(encoder.scores(question, TEXTS) for question in TEXTS[:8]))
        clock.cancel()
        return found

    found = run_async(ask_all())
    assert found == [scores(folder, TEXTS, question) for question in TEXTS[:8]]
    assert len(ticks) > 8


def test_the_model_may_lie_in_a_folder_of_its_exporter(folder: Path):
    write_cross_encoder(folder, WORDS)
    expected = scores(folder, TEXTS)
    (folder / "onnx").mkdir()
    (folder / "model.onnx").rename(folder / "onnx" / "model.onnx")
    assert scores(folder, TEXTS) == expected


def test_a_model_in_object_storage_is_copied_with_its_weights(folder: Path):
    write_cross_encoder(folder, WORDS, max_length=64)
    content = {path.name: path.read_bytes() for path in folder.iterdir()}
    beside = {"model.onnx_data": b"weights", "model.safetensors": b"others", "sub/model.onnx": b"another"}
    copied = CrossEncoder.of("local:s3://models/small", MemoryStorage("s3://models/small", {**content, **beside}))
    assert {path.name for path in copied.files["model.onnx"].parent.iterdir()} == {*content, "model.onnx_data"}
    assert run_async(copied.scores(QUESTION, TEXTS)) == scores(folder, TEXTS)
    assert copied.digest == cross_encoder_picker(f"local:{folder}").digest


def test_another_model_in_the_same_folder_is_another_one(folder: Path):
    write_cross_encoder(folder, WORDS)
    before = endpoint_urls([f"local:{folder}"]), scores(folder, TEXTS[:2])
    write_cross_encoder(folder, f"first {WORDS}")
    after = endpoint_urls([f"local:{folder}"]), scores(folder, TEXTS[:2])
    assert before[0] != after[0] and before[1] != after[1]
    assert cross_encoder_picker(f"local:{folder}") is cross_encoder_picker(f"local:{folder}")


def test_what_is_missing_is_told_with_the_remedy(folder: Path, monkeypatch: pytest.MonkeyPatch):
    identifier = f"local:{folder}"
    assert is_local(identifier) and not is_local("bge@tei")
    missing = check_identifiers([identifier, identifier], NOTHING)
    assert missing == [
        f"'{identifier}': {folder} has no model.onnx (nor onnx/model.onnx): export the model to ONNX",
        f"'{identifier}': {folder} has no tokenizer.json: save the model's fast tokenizer there",
    ]
    write_cross_encoder(folder, WORDS)
    assert check_identifiers([identifier], NOTHING) == []
    monkeypatch.setattr(cross_encoder, "EXTRA", ("onnxruntime", "no_such_runtime"))
    (problem,) = cross_encoder_problems(identifier, NOTHING)
    assert problem == f"""'{identifier}' needs no_such_runtime: pip install "dream-rag[cross-encoder]\""""
    with pytest.raises(
        ConfigurationError, match=r"on this machine \(a local folder is only accessible on its own machine"
    ):
        cross_encoder_picker(identifier)
    (problem,) = cross_encoder_problems("local:ftp://x/y", NOTHING)[1:]
    assert "write s3://bucket/prefix" in problem


def test_files_that_are_no_cross_encoder_are_told(folder: Path, tmp_path: Path):
    write_cross_encoder(folder, WORDS)
    (folder / "model.onnx").write_bytes(b"no model")
    with pytest.raises(ConfigurationError, match=r"model\.onnx cannot be loaded"):
        scores(folder, TEXTS)
    write_cross_encoder(folder, WORDS)
    (folder / "tokenizer.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"tokenizer\.json cannot be read"):
        scores(folder, TEXTS)
    write_cross_encoder(folder, WORDS)
    (folder / "tokenizer_config.json").write_text("{", encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"tokenizer_config\.json cannot be read"):
        scores(folder, TEXTS)


@pytest.mark.usefixtures("gateway")
def test_it_is_tried_before_an_experiment(folder: Path):
    words = "Since when are the numbers sent by radio ? station has to valley 1988 bakery opens at six"
    write_cross_encoder(folder, words)
    assert check_models([], [], rerankers=[f"local:{folder}"]) == []
    write_cross_encoder(folder, "nothing of it")
    with pytest.raises(Exception, match=r"local:.*it returns the same score for 3 different texts"):
        check_models([], [], rerankers=[f"local:{folder}"])
