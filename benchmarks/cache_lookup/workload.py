"""Questions with vectors that every cache is given alike, and what is looked up among them.

The vectors are made: `KINDS` centres, entries around them (the tenth neighbour at a distance of
about 0.2), so that no model's time is in any figure. Half of the look-ups are near an entry
(cosine about 0.98) and in nearly its words, half are near none. Numpy only: it is run by the peers'
Python, too.
"""

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.float32]

DIMENSION = 384
KINDS = 200
_VERBS = ("reset", "change", "cancel", "export", "renew", "share", "print", "rename")
_THINGS = ("password", "invoice", "address", "report", "licence", "calendar", "contract", "badge")


def entries(count: int, seed: int = 1) -> tuple[list[str], Rows]:
    """Return questions and their unit vectors."""
    made = np.random.default_rng(seed)
    centres = _unit(made.normal(size=(KINDS, DIMENSION)))
    spread = made.normal(size=(count, DIMENSION)) * (0.7 / DIMENSION**0.5)
    vectors = _unit(centres[np.arange(count) % KINDS] + spread)
    return [_text(at) for at in range(count)], vectors


def lookups(
    texts: list[str], vectors: Rows, count: int, seed: int = 2
) -> list[tuple[str, Rows, int]]:
    """Return (question, vector, position of the entry it is near or -1), mixed."""
    made = np.random.default_rng(seed)
    near = made.integers(len(texts), size=count // 2)
    noise = made.normal(size=(len(near), DIMENSION)) * (0.2 / DIMENSION**0.5)
    hits = _unit(vectors[near] + noise)
    strange = _unit(made.normal(size=(count - len(near), DIMENSION)))
    found = [(f"{texts[at]} please", hits[row], int(at)) for row, at in enumerate(near)]
    found += [(f"What about matter {at}?", strange[at], -1) for at in range(len(strange))]
    return [found[at] for at in made.permutation(len(found))]


def _text(at: int) -> str:
    verb, thing = _VERBS[at % 8], _THINGS[at // 8 % 8]
    return f"How do I {verb} the {thing} of group {at // 64}?"


def _unit(rows: npt.NDArray[np.float64]) -> Rows:
    unit: Rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return unit
