"""A small cross-encoder in ONNX: a score is the inner product of the mean vectors of question and text."""

import json
from pathlib import Path
from typing import Any

import numpy
import onnx
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.normalizers import Lowercase
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
INPUTS = ("input_ids", "attention_mask", "token_type_ids")


def write_cross_encoder(
    folder: Path, words: str, *, classes: int = 1, max_length: int | None = None, inputs: tuple[str, ...] = INPUTS
) -> numpy.ndarray:
    """Write model and tokenizer for these words; the vectors of all tokens."""
    vocabulary = {word: n for n, word in enumerate([*SPECIAL, *dict.fromkeys(words.lower().split())])}
    vectors = numpy.random.default_rng(7).normal(size=(len(vocabulary), 8)).astype(numpy.float32)
    vectors[: len(SPECIAL)] = 0
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(_model(vectors, classes, inputs), str(folder / "model.onnx"))
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = Lowercase(), Whitespace()  # pyright: ignore
    tokenizer.post_processor = TemplateProcessing(  # pyright: ignore
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    if max_length is not None:
        config = {"model_max_length": max_length, "pad_token": "[PAD]"}
        (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    return vectors


def _model(vectors: numpy.ndarray, classes: int, inputs: tuple[str, ...]) -> onnx.ModelProto:
    """mean(E[ids], mask and type 0) . mean(E[ids], mask and type 1), as the last of `classes` scores."""
    shape = ["texts", "tokens"]
    floats = [
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Cast", ["token_type_ids"], ["type"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["mask", "type"], ["of_text"]),
        helper.make_node("Sub", ["mask", "of_text"], ["of_question"]),
        helper.make_node("Gather", ["E", "input_ids"], ["embedded"]),
    ]
    means = [node for side in ("question", "text") for node in _mean(side)]
    last = [
        helper.make_node("Mul", ["mean_question", "mean_text"], ["products"]),
        helper.make_node("ReduceSum", ["products", "one"], ["score"], keepdims=1),
        helper.make_node("Mul", ["score", "weights"], ["logits"]),
    ]
    weights = numpy.zeros((1, classes), numpy.float32)
    weights[0, -1] = 1
    constants = {"E": vectors, "one": numpy.array([1]), "two": numpy.array([2]), "weights": weights}
    graph = helper.make_graph(
        [*floats, *means, *last],
        "overlap",
        [helper.make_tensor_value_info(name, TensorProto.INT64, shape) for name in inputs],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["texts", classes])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def _mean(side: str) -> list[Any]:
    return [
        helper.make_node("ReduceSum", [f"of_{side}", "one"], [f"n_{side}"], keepdims=1),
        helper.make_node("Unsqueeze", [f"of_{side}", "two"], [f"column_{side}"]),
        helper.make_node("Mul", ["embedded", f"column_{side}"], [f"masked_{side}"]),
        helper.make_node("ReduceSum", [f"masked_{side}", "one"], [f"sum_{side}"], keepdims=0),
        helper.make_node("Div", [f"sum_{side}", f"n_{side}"], [f"mean_{side}"]),
    ]
