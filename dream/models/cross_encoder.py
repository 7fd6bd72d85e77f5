"""Local cross-encoders, which run in this process: `local:` and the folder of an ONNX model, or its URI in object
storage, such as `local:models/bge-reranker-base` or `local:s3://models/bge-reranker-base`.

The folder has `model.onnx` (or `onnx/model.onnx`, as exporters write it) and `tokenizer.json`; an optional
`tokenizer_config.json` has the maximum input (`model_max_length`, by default 512 tokens) and the padding. Nothing is
downloaded from a hub. Needs the extra: pip install "dream-rag[cross-encoder]".
"""

import asyncio
import importlib.util
import json
import tempfile
import threading
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy

from dream.errors import ConfigurationError, DataError, DreamError, bullets, explain
from dream.records import digest
from dream.settings import Settings
from dream.storage import LocalStorage, Storage, local_files, open_storage

PREFIX = "local:"
MODEL, TOKENIZER, TOKENIZER_CONFIG = "model.onnx", "tokenizer.json", "tokenizer_config.json"
USUAL_LENGTH, MOST_LENGTH = 512, 8192
BATCH_SIZE = 16
EXTRA = ("onnxruntime", "tokenizers")
_INPUTS = ("input_ids", "attention_mask", "token_type_ids")
_PADDINGS = ("[PAD]", "<pad>")
_storages: dict[str, Storage] = {}
_encoders: "dict[tuple[str, str], CrossEncoder]" = {}
_lock = threading.Lock()


def is_local(identifier: str) -> bool:
    """True for the identifier of a model that runs in this process.

    Example:
        >>> is_local("local:models/bge"), is_local("bge-reranker@tei")
        (True, False)
    """
    return identifier.startswith(PREFIX)


def cross_encoder_problems(identifier: str, settings: Settings | None = None) -> list[str]:
    """Messages about everything that is missing for a local cross-encoder, with remedies. Its files are not read.

    Args:
        settings: for object storage; by default those of the environment.
    """
    return _files_of(identifier, settings)[1]


def cross_encoder_picker(identifier: str) -> "CrossEncoder":
    """The cross-encoder of an identifier, loaded once per process, and again if its files change.

    Raises:
        ConfigurationError: if the extra or files are missing on this machine, or the model is not a cross-encoder.
        StorageError: if its files cannot be read.
    """
    names, problems = _files_of(identifier)
    if problems:
        where = (
            ""
            if "://" in identifier
            else " (a local folder is only accessible on its own machine; object storage on all)"
        )
        raise ConfigurationError(bullets(f"the reranker cannot be used on this machine{where}:", problems))
    with _lock:
        key = identifier, digest(names)
        if key not in _encoders:
            _encoders[key] = CrossEncoder.of(identifier, _storage_of(identifier))
        return _encoders[key]


@dataclass(frozen=True)
class CrossEncoder:
    """A model that reads question and text together and returns a score.

    Args:
        name: its identifier, for messages.
        files: MODEL, TOKENIZER and, if there is one, TOKENIZER_CONFIG, by these names.
        folder: a folder with files that were downloaded from object storage.
    """

    name: str
    files: dict[str, Path]
    folder: Any = field(default=None, repr=False)

    @classmethod
    def of(cls, identifier: str, storage: Storage) -> "CrossEncoder":
        """The model whose files are in storage; those in a bucket are copied to this machine."""
        names = _listed(storage)
        model = _model_key(names)
        keys = {MODEL: model, TOKENIZER: TOKENIZER, TOKENIZER_CONFIG: TOKENIZER_CONFIG}
        if isinstance(storage, LocalStorage):
            return cls(identifier, {name: Path(storage.uri(key)) for name, key in keys.items() if key in names})
        folder = tempfile.TemporaryDirectory(prefix="dream-cross-encoder-")
        for key in names:  # weights may be in separate files
            Path(folder.name, key).parent.mkdir(exist_ok=True)
            storage.download(key, Path(folder.name, key))
        return cls(identifier, {name: Path(folder.name, key) for name, key in keys.items() if key in names}, folder)

    async def scores(self, query: str, texts: Sequence[str]) -> list[float]:
        """A score for each text, in their order; higher is more relevant. The scale depends on the model.

        Texts are cut if question and text exceed the model's maximum of tokens. In each process, one batch at a time is
        computed, on all cores.

        Raises:
            ConfigurationError: if the files are not those of a cross-encoder.
            DataError: if a score is not a finite number.
        """
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._scores, query, list(texts))

    @cached_property
    def digest(self) -> str:
        """A digest of the model and its tokenizer."""
        return digest({name: local_files.digest(path) for name, path in self.files.items()})[:32]

    @cached_property
    def max_length(self) -> int:
        """The maximum tokens of question and text together."""
        given = self._config.get("model_max_length", USUAL_LENGTH)
        return int(given) if isinstance(given, int | float) and 0 < given <= MOST_LENGTH else USUAL_LENGTH

    def _scores(self, query: str, texts: list[str]) -> list[float]:
        scores: list[float] = []
        for start in range(0, len(texts), BATCH_SIZE):
            pairs = [(query, text) for text in texts[start : start + BATCH_SIZE]]
            scores += self._batch(pairs)
        if wrong := sum(not numpy.isfinite(score) for score in scores):
            raise DataError(f"{self.name} returned no finite score for {wrong} of {len(scores)} texts")
        return scores

    def _batch(self, pairs: list[tuple[str, str]]) -> list[float]:
        encoded = self._tokenizer.encode_batch(pairs)
        columns = {
            "input_ids": [each.ids for each in encoded],
            "attention_mask": [each.attention_mask for each in encoded],
            "token_type_ids": [each.type_ids for each in encoded],
        }
        given = {name: numpy.array(columns[name], dtype=kind) for name, kind in self._inputs.items()}
        try:
            output = numpy.asarray(self._session.run(None, given)[0], dtype=numpy.float64)
        except Exception as error:
            raise ConfigurationError(f"{self.name}: the model cannot be run: {explain(error)}") from error
        if output.shape in ((len(pairs),), (len(pairs), 1)):
            return output.reshape(-1).tolist()
        if output.shape == (len(pairs), 2):  # a classifier of "does not help" and "helps"
            return (output[:, 1] - output[:, 0]).tolist()
        raise ConfigurationError(
            f"{self.name}: for {len(pairs)} texts the model returned an array of shape {output.shape}, but a "
            f"cross-encoder returns one score per text: export it for sequence classification"
        )

    @cached_property
    def _thread(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(1, "dream-cross-encoder")

    @cached_property
    def _config(self) -> dict[str, Any]:
        if TOKENIZER_CONFIG not in self.files:
            return {}
        try:
            read = json.loads(self.files[TOKENIZER_CONFIG].read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ConfigurationError(f"{self.name}: {TOKENIZER_CONFIG} cannot be read: {explain(error)}") from error
        return read if isinstance(read, dict) else {}

    @cached_property
    def _tokenizer(self) -> Any:
        from tokenizers import Tokenizer

        try:
            tokenizer = Tokenizer.from_file(str(self.files[TOKENIZER]))
        except Exception as error:
            raise ConfigurationError(f"{self.name}: {TOKENIZER} cannot be read: {explain(error)}") from error
        tokenizer.enable_truncation(self.max_length)
        padding = self._config.get("pad_token")
        token = padding.get("content") if isinstance(padding, dict) else padding
        for name in (token, *_PADDINGS):
            if isinstance(name, str) and (number := tokenizer.token_to_id(name)) is not None:
                tokenizer.enable_padding(pad_id=number, pad_token=name)
                return tokenizer
        tokenizer.enable_padding()  # as its configuration says, else with 0
        return tokenizer

    @cached_property
    def _session(self) -> Any:
        import onnxruntime

        try:
            return onnxruntime.InferenceSession(str(self.files[MODEL]), providers=["CPUExecutionProvider"])
        except Exception as error:
            raise ConfigurationError(f"{self.name}: {MODEL} cannot be loaded: {explain(error)}") from error

    @cached_property
    def _inputs(self) -> dict[str, Any]:
        """The model's inputs and their types."""
        inputs = {given.name: given.type for given in self._session.get_inputs()}
        if "input_ids" not in inputs or not {*inputs} <= {*_INPUTS}:
            raise ConfigurationError(
                f"{self.name}: the model's inputs are {', '.join(inputs) or 'none'}; those of a cross-encoder are "
                f"input_ids, and optionally attention_mask and token_type_ids"
            )
        return {name: numpy.int32 if kind == "tensor(int32)" else numpy.int64 for name, kind in inputs.items()}


def _files_of(identifier: str, settings: Settings | None = None) -> tuple[dict[str, str], list[str]]:
    """The files of a model, as `_listed` returns them, and everything that is missing."""
    problems = []
    if missing := [name for name in EXTRA if importlib.util.find_spec(name) is None]:
        problems.append(f'{identifier!r} needs {" and ".join(missing)}: pip install "dream-rag[cross-encoder]"')
    try:
        storage = _storage_of(identifier, settings)
        names = _listed(storage)
    except DreamError as error:
        return {}, [*problems, f"{identifier!r}: {explain(error)}"]
    if not _model_key(names):
        problems.append(f"{identifier!r}: {storage.uri()} has no {MODEL} (nor onnx/{MODEL}): export the model to ONNX")
    if TOKENIZER not in names:
        problems.append(f"{identifier!r}: {storage.uri()} has no {TOKENIZER}: save the model's fast tokenizer there")
    return names, problems


def _storage_of(identifier: str, settings: Settings | None = None) -> Storage:
    """The storage of a model's files: that of the settings which were given for it in this process."""
    if settings is not None or identifier not in _storages:
        uri = identifier.removeprefix(PREFIX)
        _storages[identifier] = open_storage(uri, settings or Settings.from_environment())
    return _storages[identifier]


def _listed(storage: Storage) -> dict[str, str]:
    """The files of a model, weights that lie beside it too, and for each another text when it is another."""
    if isinstance(storage, LocalStorage):
        root = Path(storage.root)
        paths = [path for path in (*root.glob("*"), *root.glob("onnx/*")) if path.is_file()]
        versions = {
            path.relative_to(root).as_posix(): f"{path.stat().st_size} {path.stat().st_mtime_ns}" for path in paths
        }
    else:
        listed = [each for prefix in (MODEL, f"onnx/{MODEL}", "tokenizer") for each in storage.list(prefix)]
        versions = {each.key: f"{each.size} {each.modified} {each.version}" for each in listed}
    return {key: versions[key] for key in sorted(versions) if _is_of_model(key)}


def _is_of_model(key: str) -> bool:
    folder, _, name = key.rpartition("/")
    return key in (TOKENIZER, TOKENIZER_CONFIG) or (folder in ("", "onnx") and name.startswith(MODEL))


def _model_key(names: Collection[str]) -> str:
    return next((name for name in (MODEL, f"onnx/{MODEL}") if name in names), "")
