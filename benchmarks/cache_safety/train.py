"""Trains the pair verifier: ridge logistic regression in which no sign loses its weight.

    python -m benchmarks.cache_safety.train

Minimises  Σ c log(1 + exp(−y (b + w·x))) + λ/2 Σ (w − w₀)² / (w₀² + 0.1),   w ≥ 0, y = ±1,

with c such that both kinds of pairs weigh the same (the guard lets few traps pass),

by accelerated projected gradient with restarts (Beck and Teboulle 2009). w₀ is what a person would
expect before seeing data; λ pulls towards it, since a few hundred pairs can't say much about rare
signs, and no sign against keeps less than a quarter of it: without that the pairs at hand teach
that a replaced word doesn't matter where the similarity is high. Trained on the fow pairs alone, on
those that the guard lets pass. Writes `verifier.json` with provenance.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from benchmarks.cache_safety.pairs import Pair, folder, fow, similarities
from fairstow.cache_sidecar.embedding import MODEL, Embedder
from fairstow.semantic_cache.guard import judge
from fairstow.semantic_cache.verifier import FEATURES, Weights, features

Matrix = npt.NDArray[np.float64]

OUT = Path("fairstow/semantic_cache/verifier.json")
ACCEPT = 0.55
RIDGE = 2.0
LEAST = 0.25
"""Of its expected weight that each sign against keeps, whatever the pairs say."""
PRIOR = {
    "similarity": 1.0, "similarity_above": 1.0, "replaced": 1.5, "added": 0.7, "generic": 0.3,
    "function": 0.2, "function_share": 0.5, "form": 0.7, "persons": 0.4, "weak": 0.5,
    "strong": 0.1, "short": 1.0, "left_share": 0.5, "length": 0.1, "same_words": 3.0,
    "yes_no": 0.5, "tense": 0.5, "modal": 0.5,
    "same_yes_no": 1.5, "same_tense": 1.0, "same_far": 1.0,
    "reordered": 0.5, "same_idle": 1.0, "same_reordered": 1.0,
    "same_function": 1.0, "same_short": 3.0, "same_form": 1.0,
}  # fmt: skip
_FOR = frozenset({"similarity", "similarity_above", "same_words"})
"""Signs for, all others are against."""
_STEPS = 20_000


def table(pairs: Sequence[Pair], cosines: Matrix) -> tuple[Matrix, npt.NDArray[np.bool_]]:
    """Return a row of features for each pair, and which pairs the guard read and let pass."""
    rows, passed = np.zeros((len(pairs), len(FEATURES))), np.zeros(len(pairs), bool)
    for at, pair in enumerate(pairs):
        judgement = judge(pair.a, pair.b)
        if not judgement.objections and judgement.alignment is not None:
            rows[at] = features(judgement, float(cosines[at]))
            passed[at] = True
    return rows, passed


def fit(rows: Matrix, same: npt.NDArray[np.bool_], ridge: float = RIDGE) -> tuple[float, Matrix]:
    """Return bias and weights."""
    prior = np.array([0.0, *(PRIOR[name] for name in FEATURES)])
    pull = np.array([0.0, *(ridge / (PRIOR[name] ** 2 + 0.1) for name in FEATURES)])
    centre = rows.mean(axis=0)
    x = np.column_stack([np.ones(len(rows)), rows - centre])
    y = np.where(same, 1.0, -1.0)
    odds = np.where(same, 1.0, same.sum() / max(1, (~same).sum()))
    step = 1 / (np.linalg.norm(x * np.sqrt(odds)[:, None], 2) ** 2 / 4 + pull.max())
    least = np.array([0 if name in _FOR else LEAST * PRIOR[name] for name in FEATURES])
    at = ahead = prior.copy()
    momentum = 1
    for _ in range(_STEPS):
        margin = np.clip(y * (x @ ahead), -500, 500)
        gradient = -x.T @ (odds * y / (1 + np.exp(margin))) + pull * (ahead - prior)
        new = ahead - step * gradient
        new[1:] = np.maximum(new[1:], least)
        momentum = momentum + 1 if gradient @ (new - at) <= 0 else 1  # restart where it overshoots
        ahead = new + (momentum - 1) / (momentum + 2) * (new - at)
        at = new
    return float(at[0] - at[1:] @ centre), at[1:]


def main() -> None:
    """Train and write the weights."""
    pairs = fow()
    rows, passed = table(pairs, similarities(pairs, Embedder(threads=2)))
    same = np.array([pair.same_answer for pair in pairs])
    bias, weights = fit(rows[passed], same[passed])
    data = (folder() / "fow_pairs_dev.jsonl").read_bytes()
    found = Weights(
        provenance={
            "data": "fow-cache question pairs (CC BY 4.0, Mabon ap Gwyn), fow_pairs_dev.jsonl",
            "sha256": hashlib.sha256(data).hexdigest(),
            "pairs": int(passed.sum()),
            "model": MODEL,
            "made_by": "python -m benchmarks.cache_safety.train",
            "ridge": RIDGE,
        },
        accept=ACCEPT,
        bias=round(bias, 3),
        weights={
            name: round(float(weight), 3) for name, weight in zip(FEATURES, weights, strict=True)
        },
    )
    OUT.write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=2) + b"\n")
    sys.stdout.write(OUT.read_text())


if __name__ == "__main__":
    main()
