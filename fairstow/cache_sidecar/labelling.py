"""How many hits are wrong: which are looked into, and what the answers to both questions say.

A hit that would be served is asked upstream, too: always in Shadow, where it is forwarded anyway;
of those that are served a share chosen by chance before anything is known of them, no more than so
many a minute and none while the upstream is loaded (`error_budget`). Where load may lower the
threshold, hits under it are looked into as well. The judge compares the two answers by the rules
that questions are compared by, and their vectors:

    v(text) = Σ v(part) / |Σ v(part)|       over parts of `WORDS` words

It is stricter than a reader: answers in other words count as wrong. How often is configured
(`judge`). An answer over `LONGEST` characters isn't judged. Called by `memory`.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable

import msgspec
import numpy as np

from fairstow.cache_sidecar import answers, metrics
from fairstow.cache_sidecar.configuration import Rules
from fairstow.cache_sidecar.embedding import MODEL, Vector
from fairstow.cache_sidecar.kept import Answer
from fairstow.cache_sidecar.stores.records import MOST_LABELS, Label
from fairstow.cache_sidecar.vectors import NoVectorsError, Vectors
from fairstow.semantic_cache import error_budget
from fairstow.semantic_cache.decision import Lookup, Mode, Outcome, Verdict, decide, shadowed
from fairstow.semantic_cache.equivalence import compare
from fairstow.semantic_cache.error_budget import Budget, Evidence
from fairstow.semantic_cache.thresholds import Adaptation

WORDS = 100
LONGEST = 8_000
_MINUTE = 60.0
_JUDGE = ""
"""Nobody's namespace."""


class Watched(msgspec.Struct, frozen=True):
    """A hit that is looked into; `at`: the threshold that found it."""

    entry: str
    similarity: float
    at: float


class Labelling:
    """See the module. Args: clock: a monotonic one. chance: uniform in [0, 1)."""

    def __init__(
        self,
        vectors: Vectors,
        clock: Callable[[], float],
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._vectors = vectors
        self._clock = clock
        self._chance = chance
        self._labels: deque[Label] = deque(maxlen=MOST_LABELS)
        self._known: dict[str, tuple[Budget, Evidence]] = {}
        self._lately: deque[float] = deque()

    def add(self, label: Label, rules: Rules) -> None:
        """Take a label."""
        self._labels.append(label)
        if label.model != MODEL or (budget := rules.budgets.get(label.category)) is None:
            return
        said = "wrong" if label.wrong else "right"
        metrics.LABELS.labels(label.category, said).inc()
        known = self._known.get(label.category)
        if known is None or known[0] != budget:
            self.evidence(label.category, rules)
        else:
            self._known[label.category] = (budget, _told(known[1], budget, label))

    def evidence(self, category: str, rules: Rules) -> Evidence:
        """Return what is known of a category; read again where its budget has changed."""
        budget = rules.budgets[category]
        known = self._known.get(category)
        if known is None or known[0] != budget:
            found = Evidence.none(budget)
            for label in self._labels:
                if label.category == category and label.model == MODEL:
                    found = _told(found, budget, label)
            known = self._known[category] = (budget, found)
        return known[1]

    def allowed(self, category: str, rules: Rules) -> tuple[float | None, bool]:
        """Return the threshold that the error budget allows, and whether it is spent."""
        budget, evidence = rules.budgets[category], self.evidence(category, rules)
        if not rules.policies[category].budget_signed:
            return error_budget.least_threshold(evidence, budget), False
        at = error_budget.unrefuted(evidence, budget)
        return at, at is None

    def watch(self, rules: Rules, lookup: Lookup, verdict: Verdict) -> Watched | None:
        """Return the hit to look into, if this is one and chance wants it."""
        reask = rules.said.reask
        if not lookup.near or lookup.client_threshold is not None:
            return None
        if verdict.outcome not in (Outcome.MISS, Outcome.HIT_SEMANTIC):
            return None
        # One chance for all hits of a category, whatever their similarity: else the rates lie.
        shadow = shadowed(lookup, [])
        if not shadow and self._chance() * 1_000 >= reask.permille:
            return None
        found = _hit(lookup, verdict, min(rules.budgets[lookup.policy.category].grid))
        now = self._clock()
        while self._lately and self._lately[0] <= now - _MINUTE:
            self._lately.popleft()
        load = 0.0 if shadow else lookup.load
        if found is None or not error_budget.may_reask(load, len(self._lately), reask.per_minute):
            return None
        self._lately.append(now)
        return found

    async def judge(self, category: str, watched: Watched, a: Answer, b: Answer) -> Label | None:
        """Return whether a stored answer and a fresh one differ; None where nobody can say."""
        wrong = await self._differ(answers.text(a), answers.text(b))
        if wrong is None:
            metrics.LABELS.labels(category, "unjudged").inc()
            return None
        return Label(category, MODEL, watched.similarity, watched.at, wrong)

    async def _differ(self, a: str, b: str) -> bool | None:
        if a.split() == b.split():
            return False
        if max(len(a), len(b)) > LONGEST or not a.strip() or not b.strip():
            return None
        one, two = await self._vector(a), await self._vector(b)
        if one is None or two is None:
            return None
        found = await asyncio.to_thread(compare, a, b, float(one @ two))
        return not found.same

    async def _vector(self, text: str) -> Vector | None:
        words = text.split()
        total = None
        for start in range(0, len(words), WORDS):
            try:
                part = await self._vectors.of(_JUDGE, " ".join(words[start : start + WORDS]))
            except NoVectorsError:
                return None
            if part is None:
                return None
            total = part if total is None else total + part
        length = 0.0 if total is None else float(np.linalg.norm(total))
        return None if total is None or length == 0 else total / np.float32(length)


def _hit(lookup: Lookup, verdict: Verdict, lowest: float) -> Watched | None:
    """Return the hit of a verdict, or the one that the lowest threshold would have found."""
    at = verdict.threshold
    if verdict.entry is None and at is not None and lowest < at:
        policy = msgspec.structs.replace(
            lookup.policy, threshold=lowest, mode=Mode.SHADOW, adaptation=Adaptation()
        )
        looser = msgspec.structs.replace(lookup, policy=policy, budget_threshold=None, load=0.0)
        verdict, at = decide(looser), lowest
    if verdict.entry is None or verdict.similarity is None or at is None:
        return None
    return Watched(verdict.entry, verdict.similarity, at)


def _told(evidence: Evidence, budget: Budget, label: Label) -> Evidence:
    return error_budget.label(evidence, budget, label.similarity, label.wrong, at=label.at)
