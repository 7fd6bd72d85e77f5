"""Two embedding models by feature hashing: the same text has the same vector in every process.

`embed-small` hashes words into 256 dimensions. `embed-large` hashes concepts (stems, synonyms) and the character
n-grams of words into 1,024 dimensions, so that it also matches paraphrases and spelling variants. Both add a common
direction to all vectors, like trained models, so that the similarity of unrelated texts is above 0.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from zlib import crc32

import numpy as np

from dream.offline.words import STOP_WORDS, concept, number, tokens

INPUT_LIMIT_TOKENS = 8192


@dataclass(frozen=True)
class EmbeddingModel:
    """An embedding model. `shared` is the weight of the common direction of all vectors; 0 for none."""

    name: str
    dimensions: int
    shared: float


EMBEDDING_MODELS = {
    model.name: model for model in (EmbeddingModel("embed-small", 256, 0.7), EmbeddingModel("embed-large", 1024, 0.7))
}


def embed(name: str, texts: Sequence[str]) -> np.ndarray:
    """Unit vectors as float32, a row per text, in the order of `texts`."""
    return np.stack([_embed_one(name, text) for text in texts])


@lru_cache(maxsize=8192)
def _embed_one(name: str, text: str) -> np.ndarray:
    model = EMBEDDING_MODELS[name]
    counted = Counter(tokens(text))
    vector = _sum_of_features(model, counted) if counted else np.zeros(model.dimensions)
    length = np.linalg.norm(vector)
    vector = vector / length if length else vector
    vector = vector + model.shared * _shared_direction(model.dimensions)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def _sum_of_features(model: EmbeddingModel, counted: Counter[str]) -> np.ndarray:
    features = _small_features if model.dimensions == 256 else _large_features
    parts = [features(word, model.dimensions) for word in counted]
    damped = np.sqrt(np.fromiter(counted.values(), dtype=np.float64, count=len(counted)))
    weights = np.concatenate([values * factor for (_, values), factor in zip(parts, damped, strict=True)])
    return np.bincount(np.concatenate([slots for slots, _ in parts]), weights=weights, minlength=model.dimensions)


@lru_cache(maxsize=65536)
def _small_features(word: str, dimensions: int) -> tuple[np.ndarray, np.ndarray]:
    return _hashed([(word, 0.3 if word in STOP_WORDS else 1.0)], dimensions)


@lru_cache(maxsize=65536)
def _large_features(word: str, dimensions: int) -> tuple[np.ndarray, np.ndarray]:
    if word in STOP_WORDS:
        return _hashed([(word, 0.05)], dimensions)
    if (value := number(word)) is not None:
        return _hashed([("#" + value, 1.0)], dimensions)
    root = concept(word)
    edged = f"<{word}>"
    grams = [edged[position : position + size] for size in (3, 4, 5) for position in range(len(edged) - size + 1)]
    share = 0.45 / max(len(grams), 1) ** 0.5
    return _hashed([("=" + root, _rarity(root)), *((gram, share) for gram in grams)], dimensions)


def _rarity(root: str) -> float:
    """A weight that grows with the length of a word; an approximation of inverse document frequency."""
    return 0.7 + 0.06 * min(len(root), 8)


def _hashed(features: list[tuple[str, float]], dimensions: int) -> tuple[np.ndarray, np.ndarray]:
    hashes = [crc32(feature.encode()) for feature, _ in features]
    slots = np.array([value % dimensions for value in hashes], dtype=np.int64)
    signs = [1.0 if (value >> 20) & 1 else -1.0 for value in hashes]
    return slots, np.array([weight * sign for (_, weight), sign in zip(features, signs, strict=True)])


@lru_cache(maxsize=4)
def _shared_direction(dimensions: int) -> np.ndarray:
    signs = np.array([1.0 if crc32(f"shared {position}".encode()) & 1 else -1.0 for position in range(dimensions)])
    return signs / np.sqrt(dimensions)
