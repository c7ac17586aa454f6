"""Question pairs with labels, their similarities, and folds that share no topic.

Read from the folder that FAIRSTOW_DATA names: `cache/fow_pairs_dev.jsonl` (fow-cache, CC BY 4.0)
and `cache/qqp_pairs_dev.jsonl` (Quora question pairs; for measuring only, nothing is trained on
them); beside this module `own_pairs.jsonl`, written for Fairstow, of other topics. Pairs that share
a question are of one topic. Called by the benchmark and by `train`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from fairstow.cache_sidecar.embedding import Embedder


class Pair(msgspec.Struct, frozen=True):
    """Two questions; `same_answer` says whether one's answer serves the other."""

    category: str
    a: str
    b: str
    same_answer: bool


def folder() -> Path:
    """Return where the data lie; ends the program where they don't."""
    found = os.environ.get("FAIRSTOW_DATA", "")
    if not found or not (Path(found) / "cache").is_dir():
        raise SystemExit("FAIRSTOW_DATA names no folder with cache/fow_pairs_dev.jsonl")
    return Path(found) / "cache"


def fow() -> list[Pair]:
    """Return the fow pairs."""
    lines = (folder() / "fow_pairs_dev.jsonl").read_bytes().splitlines()
    return [msgspec.json.decode(line, type=Pair) for line in lines]


def own(*, looked_at: bool) -> list[Pair]:
    """Return the pairs of our own that rules were mended with, or those written after that."""
    lines = (Path(__file__).parent / "own_pairs.jsonl").read_bytes().splitlines()
    found = [(msgspec.json.decode(line), msgspec.json.decode(line, type=Pair)) for line in lines]
    return [pair for said, pair in found if said["looked_at"] is looked_at]


def qqp(start: int = 0, end: int | None = None) -> list[Pair]:
    """Return some of the Quora pairs, in the file's order."""
    lines = (folder() / "qqp_pairs_dev.jsonl").read_bytes().splitlines()[start:end]
    read: list[Any] = [msgspec.json.decode(line) for line in lines]
    return [Pair("quora", a, b, bool(same)) for a, b, same in read]


def similarities(pairs: Sequence[Pair], embedder: Embedder) -> npt.NDArray[np.float64]:
    """Return the cosine of each pair, −1 where a text has no vector."""
    left = embedder.embed([pair.a for pair in pairs])
    right = embedder.embed([pair.b for pair in pairs])
    return np.array(
        [
            float(x @ y) if x is not None and y is not None else -1.0
            for x, y in zip(left, right, strict=True)
        ]
    )


def folds(pairs: Sequence[Pair], count: int, seed: int) -> npt.NDArray[np.int64]:
    """Return a fold for each pair; those that share a question, or a chain of them, share one."""
    parent = list(range(len(pairs)))

    def root(at: int) -> int:
        while parent[at] != at:
            at = parent[at]
        return at

    first: dict[str, int] = {}
    for at, pair in enumerate(pairs):
        for text in (pair.a, pair.b):
            parent[root(at)] = root(first.setdefault(text, at))
    roots = np.array([root(at) for at in range(len(pairs))])
    topics = np.random.default_rng(seed).permutation(np.unique(roots))
    fold = {int(topic): at % count for at, topic in enumerate(topics)}
    return np.array([fold[int(topic)] for topic in roots])
