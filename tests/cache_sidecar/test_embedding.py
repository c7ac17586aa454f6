"""Embedding: the real model, and what has no vector.

Covered: unit length, nearness, that a vector doesn't depend on its batch, that long texts have
none, that a wrong file is refused, that the runtime reports nothing. Not covered: the memo
(test_vectors), speed, quality (benchmarks).
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fairstow.cache_sidecar import embedding
from fairstow.cache_sidecar.embedding import DIMENSION, MOST_TOKENS, Embedder, EmbeddingError


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    return Embedder()


def test_vectors_are_of_unit_length_and_near_for_near_texts(embedder: Embedder) -> None:
    one, near, far = embedder.embed(
        ["How do I reset my password?", "How can I reset my password?", "Bees make honey."]
    )
    assert one is not None
    assert near is not None
    assert far is not None
    assert one.shape == (DIMENSION,)
    assert float(one @ one) == pytest.approx(1, abs=1e-5)
    assert one @ near > 0.9
    assert one @ far < 0.3


def test_a_vector_does_not_depend_on_its_batch(embedder: Embedder) -> None:
    texts = [f"What is the capital of country number {'x' * n}?" for n in range(40)]
    together = Embedder().embed(texts)
    for text, vector in zip(texts[::13], together[::13], strict=True):
        (alone,) = embedder.embed([text])
        assert alone is not None
        assert vector is not None
        assert np.allclose(alone, vector, atol=1e-5)


def test_a_long_text_has_no_vector_rather_than_that_of_its_beginning(embedder: Embedder) -> None:
    short, long = "word " * (MOST_TOKENS - 2), "word " * (MOST_TOKENS - 1)
    assert embedder.tokens(short) == MOST_TOKENS
    fits, cut = embedder.embed([short, long])
    assert fits is not None
    assert cut is None


def test_odd_texts(embedder: Embedder) -> None:
    for text in ("", "\x00\x01", "🦊" * 40, "\ud800".encode("utf-8", "replace").decode()):
        (vector,) = embedder.embed([text])
        assert vector is None or np.isfinite(vector).all()


def test_another_file_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding, "_WEIGHTS", embedding._Part(
        embedding._TOKENIZER.package, embedding._TOKENIZER.path, "0" * 64))  # fmt: skip
    with pytest.raises(EmbeddingError, match="SHA-256"):
        Embedder()


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding, "_WEIGHTS", embedding._Part("no-such-package", "x", ""))
    with pytest.raises(EmbeddingError, match=r"fairstow\[cache\]"):
        Embedder()


def test_the_runtime_reports_to_nobody(tmp_path: Path) -> None:
    code = "from fairstow.cache_sidecar.embedding import Embedder; Embedder().embed(['a'])"
    home = os.environ | {"HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", code], env=home, check=True)
    assert not list(tmp_path.rglob("*"))


def test_the_index_may_be_loaded_before_the_model() -> None:
    code = (
        "import fairstow.cache_sidecar.partition\n"
        "from fairstow.cache_sidecar.embedding import Embedder\n"
        "Embedder()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
