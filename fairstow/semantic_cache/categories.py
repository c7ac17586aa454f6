"""Which category a request is of: the first that says so decides, and in doubt the strictest.

    1  the owner's mapping of a header to a category
    2  structure: code fences, tools
    3  keywords of the SemanticCache
    4  the vector: similarity-weighted vote of the k nearest labelled examples, kept only above a
       floor of probability (on CLINC's ten domains one centroid a domain is right in 81 %, k-NN in
       92–94 %: never a single centroid)
    5  the strictest category

A client's word changes nothing here; it tightens the policy (`decision.tightened`). Called by
`decision`'s callers, before the look-up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
import numpy as np
import numpy.typing as npt

NEIGHBOURS = 10
FLOOR = 0.6
_FENCE = "```"


class Category(msgspec.Struct, frozen=True):
    """What decides membership.

    Attributes:
        threshold: cosine; the highest is the strictest.
        keywords: lower-case words or phrases.
        code: whether requests with code belong here.
    """

    name: str
    threshold: float
    keywords: tuple[str, ...] = ()
    code: bool = False


class Examples:
    """Labelled vectors, unit length, one a row."""

    def __init__(self, vectors: npt.NDArray[np.float32], labels: Sequence[str]) -> None:
        self._vectors = vectors
        self._labels = np.array(labels)

    def vote(self, vector: npt.NDArray[np.float32]) -> tuple[str, float]:
        """Return the label that most of the nearest have, and its share of their votes."""
        near = self._vectors @ vector
        chosen = np.argsort(-near)[:NEIGHBOURS]
        votes: dict[str, float] = {}
        for at in chosen:
            label = str(self._labels[at])
            votes[label] = votes.get(label, 0.0) + max(0.0, float(near[at]))
        best = max(votes, key=lambda label: (votes[label], label), default="")
        total = sum(votes.values())
        return best, votes.get(best, 0.0) / total if total > 0 else 0.0


class Choice(msgspec.Struct, frozen=True):
    """The category and which rule said so."""

    category: str
    by: str


def choose(
    question: str,
    categories: Mapping[str, Category],
    *,
    mapped: str | None = None,
    tools: bool = False,
    examples: Examples | None = None,
    vector: npt.NDArray[np.float32] | None = None,
) -> Choice:
    """Return the category of a question.

    Args:
        question: the last user text.
        categories: all there are, by name; at least one.
        mapped: what the owner's mapping says.
        tools: whether the request has tools.
        examples: labelled vectors, if there are any.
        vector: the question's, if it is embedded.
    """
    if mapped is not None and mapped in categories:
        return Choice(mapped, "mapping")
    if tools or _FENCE in question:
        for name, category in categories.items():
            if category.code:
                return Choice(name, "structure")
    padded = f" {' '.join(question.casefold().split())} "
    by_keyword = {
        name
        for name, category in categories.items()
        if any(f" {keyword} " in padded for keyword in category.keywords)
    }
    if by_keyword:
        return Choice(_strictest(categories, by_keyword), "keywords")
    if examples is not None and vector is not None:
        label, share = examples.vote(vector)
        if share >= FLOOR and label in categories:
            return Choice(label, "examples")
    return Choice(_strictest(categories, set(categories)), "default")


def _strictest(categories: Mapping[str, Category], names: set[str]) -> str:
    return max(sorted(names), key=lambda name: categories[name].threshold)
