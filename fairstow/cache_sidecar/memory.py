"""The cache of one sidecar: looks requests up and keeps answers, around `semantic_cache.decision`.

A look-up reads memory, asks for a vector where the exact tier has nothing, decides, and fetches the
one answer that is served. Whatever fails in it, or takes longer than the deadline, makes it a miss:
the request is forwarded, and that is counted. Keeping happens behind the client's back: a store
that is slow or full costs entries, not requests. Called by `app`, `admin` and `service`.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

import msgspec
import numpy as np
import structlog

from fairstow.cache_sidecar import metrics
from fairstow.cache_sidecar.answers import forms
from fairstow.cache_sidecar.asked import Asked, Repeats, read
from fairstow.cache_sidecar.configuration import Rules
from fairstow.cache_sidecar.embedding import MODEL, Vector
from fairstow.cache_sidecar.index import Index
from fairstow.cache_sidecar.kept import Answer, Form, completion_tokens
from fairstow.cache_sidecar.labelling import Labelling, Watched
from fairstow.cache_sidecar.measured import Measured
from fairstow.cache_sidecar.stores.protocol import Store
from fairstow.cache_sidecar.stores.records import Head, Label, Purged, StoreError
from fairstow.cache_sidecar.vectors import NoVectorsError, Vectors
from fairstow.semantic_cache import economics
from fairstow.semantic_cache.decision import (
    Candidate,
    Lookup,
    Mode,
    Outcome,
    Reason,
    Verdict,
    decide,
)
from fairstow.semantic_cache.eligibility import Tier
from fairstow.semantic_cache.identity import Caller
from fairstow.semantic_cache.thresholds import jittered
from fairstow.serving.requests import Endpoint

_MOST_KEEPING = 256
_MOST_PURGES = 1_000
"""Are remembered; what was asked before more of them isn't kept."""
_LONG = 300
"""Characters of a question that is compared off the event loop."""
_SLACK = 16
"""Entries over a quota that may come from others, whose own evictions are on their way."""

log = structlog.get_logger(__name__)


class Found(msgspec.Struct, frozen=True):
    """What a look-up comes to.

    Attributes:
        answer: None unless it is served.
        watched: the hit whose answer is to be compared with the upstream's.
    """

    verdict: Verdict
    answer: Answer | None = None
    watched: Watched | None = None


class Memory:
    """See the module.

    Args:
        echoes: the store tells all sidecars of labels, this one, too.
        now: seconds since 1970. clock: a monotonic one.
    """

    def __init__(
        self,
        rules: Rules,
        store: Store,
        index: Index,
        vectors: Vectors,
        *,
        echoes: bool = False,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.rules = rules
        self.index = index
        self.measured = Measured(clock)
        self.labelling = Labelling(vectors, clock)
        self._store = store
        self._echoes = echoes
        self._vectors = vectors
        self._now = now
        self._repeats = Repeats(clock)
        self._keeping: set[asyncio.Task[None]] = set()
        self._purges: deque[Purged] = deque(maxlen=_MOST_PURGES)
        self._epoch = 0

    def asked(
        self,
        endpoint: Endpoint,
        body: Mapping[str, Any],
        form: Form,
        caller: Caller | None,
        header: Callable[[bytes], str | None],
        *,
        trusted: bool,
        remember: bool = True,
    ) -> Asked | None:
        """Return a request as the cache sees it, None where nobody is known to ask."""
        repeats = self._repeats if remember else None
        return read(
            self.rules, endpoint, body, form, caller, header, trusted=trusted, repeats=repeats
        )

    async def look_up(self, asked: Asked) -> Found:
        """Return what becomes of a request; never fails, never takes longer than the deadline."""
        try:
            async with asyncio.timeout(self.rules.said.lookup_deadline_seconds):
                found = await self._look_up(asked)
        except TimeoutError:
            found = self._open(asked, "deadline", "the look-up took too long")
        except StoreError as error:
            found = self._open(asked, "store", str(error))
        except Exception:
            log.exception("a look-up failed")
            found = self._open(asked, "fault", "the look-up failed")
        self._count(asked, found)
        return found

    async def explain(self, asked: Asked) -> tuple[Verdict, str]:
        """Return what would become of a request, and why, counting nothing."""
        vector, without = await self._vector(asked)
        lookup = self._lookup(asked, self._exact(asked), vector, economical=True)
        return await self._decide(asked, lookup, without), asked.by

    @property
    def epoch(self) -> int:
        """How often was purged; what the upstream was asked before a purge isn't kept after."""
        return self._epoch

    def keep(self, asked: Asked, answer: Answer, seconds: float, epoch: int) -> None:
        """Keep an answer that the upstream gave, asked in an epoch, in the background."""
        if len(self._keeping) >= _MOST_KEEPING:
            metrics.NOT_STORED.labels("busy").inc()
            return
        self._later(self._keep(asked, answer, seconds, epoch))

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._keeping.add(task)
        task.add_done_callback(self._keeping.discard)

    async def _drop(self, entries: list[str]) -> None:
        try:
            await self._store.delete(entries)
        except StoreError as error:
            log.warning("purged answers stay in the store, unused", problem=str(error))

    async def kept(self) -> None:
        """Wait until all that is to be kept is."""
        while self._keeping:
            await asyncio.gather(*self._keeping)

    async def remove(self, entries: list[str], why: str) -> int:
        """Remove entries from memory and store; return how many there were."""
        # First where it would come back from: who is told that it failed asks again for the same.
        await self._store.delete(entries)
        found = sum(self.index.remove(entry) for entry in entries)
        metrics.GONE.labels(why).inc(found)
        return found

    async def purge(self, what: Purged) -> int:
        """Remove what an owner means, here and wherever it is known; return how many were here."""
        self._begin(what)
        chosen = self.index.meant(what)
        await self._store.purge(what, chosen)
        found = sum(self.index.remove(entry) for entry in {*chosen, *self.index.meant(what)})
        metrics.GONE.labels("purged").inc(found)
        return found

    def learned(self, head: Head) -> None:
        """Another sidecar has kept an entry; what is one too many goes from here only."""
        spec, policy = self.rules.specs.get(head.category), self.rules.policies.get(head.category)
        if spec is None or policy is None or head.expires <= self._now():
            return
        self.index.put(
            head,
            priority=spec.priority,
            quota=spec.quota_entries and spec.quota_entries + _SLACK,
            threshold=policy.threshold,
        )

    def forgotten(self, entries: list[str]) -> None:
        """Another sidecar has dropped entries."""
        for entry in entries:
            self.index.remove(entry)

    def purged(self, what: Purged) -> None:
        """Another sidecar was told to purge, and has dropped what it knew of."""
        self._begin(what)
        if meant := self.index.meant(what):
            self.forgotten(meant)
            metrics.GONE.labels("purged").inc(len(meant))
            self._later(self._drop(meant))  # who learnt of them since has to drop them, too

    def lost(self) -> None:
        """What other sidecars did can't be known: begin with nothing."""
        self._begin(Purged())
        self.forgotten(list(self.index.rows))

    def _begin(self, what: Purged) -> None:
        """Begin an epoch: what is asked or kept meanwhile may be among what is purged."""
        self._purges.append(what)
        self._epoch += 1

    def _purged_since(self, epoch: int, head: Head) -> bool:
        purges = self._epoch - epoch
        lately = list(self._purges)[-purges:] if purges else []
        meant = any(each.means(head.id, head.category, head.tenant) for each in lately)
        return meant or purges > len(lately)

    async def trim(self) -> None:
        """Remove what is over quotas that became smaller, or were so before a restart."""
        rules = self.rules
        quotas = {name: (each.quota_entries and each.quota_entries + _SLACK,
                         rules.policies[name].threshold)
                  for name, each in rules.specs.items()}  # fmt: skip
        gone = self.index.trim(quotas, self._now())
        if gone:
            metrics.GONE.labels("evicted").inc(len(gone))
            await self._store.delete(gone)

    async def expire(self) -> None:
        """Remove what has expired."""
        gone = self.index.expired(self._now())
        if gone:
            metrics.GONE.labels("expired").inc(len(gone))
            await self._store.expired(gone)

    async def _look_up(self, asked: Asked) -> Found:
        exact = self._exact(asked)
        vector: Vector | None = None
        without = ""
        economy = self.measured.economy(asked.policy.category)
        probe = self.measured.probes(asked.policy.category)
        if exact is None and self._semantic(asked) and (not economy.off or probe):
            vector, without = await self._vector(asked)
        lookup = self._lookup(asked, exact, vector, economical=not economy.off)
        verdict = await self._decide(asked, lookup, without)
        if vector is not None:
            self._looked(asked, verdict)
        watched = self.labelling.watch(self.rules, lookup, verdict)
        if verdict.outcome not in (Outcome.HIT_EXACT, Outcome.HIT_SEMANTIC):
            return Found(verdict, watched=watched)
        entry = verdict.entry or ""
        with self.measured.stage("fetch"):
            answer = await self._store.answer(entry)
        row = self.index.rows.get(entry)
        if answer is None or row is None or not forms(answer) & asked.form:
            await self.remove([entry], "lost")
            return self._open(asked, "lost", "the entry's answer is gone or damaged")
        row.hits += 1
        return Found(verdict, answer, watched)

    async def judge(self, asked: Asked, watched: Watched, fresh: Answer) -> None:
        """Compare a hit's answer with the upstream's; keep what that says."""
        try:
            stored = await self._store.answer(watched.entry)
            if stored is None:
                return
            label = await self.labelling.judge(asked.policy.category, watched, stored, fresh)
            if label is not None:
                await self._store.label(label)
        except StoreError as error:
            log.warning("a label couldn't be kept", problem=str(error))
            return
        if label is not None and not self._echoes:
            self.labelled(label)

    def labelled(self, label: Label) -> None:
        """A hit was judged, here or by another sidecar."""
        self.labelling.add(label, self.rules)

    def _exact(self, asked: Asked) -> Candidate | None:
        row = self.index.rows.get(asked.entry)
        return row.candidate() if row is not None and row.forms & asked.form else None

    def _semantic(self, asked: Asked) -> bool:
        return (
            asked.trusted
            and asked.eligibility.tier is Tier.SEMANTIC
            and asked.policy.caching is Tier.SEMANTIC
            and asked.policy.mode is not Mode.OFF
            and asked.request.question is not None
        )

    async def _vector(self, asked: Asked) -> tuple[Vector | None, str]:
        if not self._semantic(asked):
            return None, ""
        try:
            with self.measured.stage("embed"):
                vector = await self._vectors.of(asked.namespace, asked.request.question or "")
        except NoVectorsError as error:
            metrics.FAILED_OPEN.labels(str(error)).inc()
            return None, str(error)
        return vector, "" if vector is not None else "the question is too long for a vector"

    async def _late_vector(self, asked: Asked) -> Vector | None:
        """Return a vector for who has time, outside of what look-ups are measured by."""
        farthest = min(asked.eligibility.tier, asked.policy.caching)
        if asked.request.question is None or farthest < Tier.SEMANTIC:
            return None
        try:
            return await self._vectors.of(asked.namespace, asked.request.question)
        except NoVectorsError:
            return None

    def _lookup(
        self, asked: Asked, exact: Candidate | None, vector: Vector | None, *, economical: bool
    ) -> Lookup:
        near: tuple[Candidate, ...] = ()
        if vector is not None:
            with self.measured.stage("search"):
                near = self.index.near(
                    asked.namespace,
                    asked.request.fingerprint,
                    asked.policy.category,
                    vector,
                    asked.form,
                )
        at, spent = self.labelling.allowed(asked.policy.category, self.rules)
        return Lookup(
            namespace=asked.namespace,
            eligibility=asked.eligibility,
            policy=asked.policy,
            now=self._now(),
            fingerprint=asked.request.fingerprint,
            question=asked.request.question,
            exact=exact,
            near=near,
            client_threshold=asked.client_threshold,
            load=self.measured.load(self.rules.said.load),
            budget_threshold=at,
            budget_spent=spent,
            economical=economical,
        )

    async def _decide(self, asked: Asked, lookup: Lookup, without: str) -> Verdict:
        if not asked.trusted:
            verdict = Verdict(Outcome.BYPASS, asked.policy.category, store=_kept(asked))
            why = Reason("identity", "the upstream hasn't accepted this key lately")
            return msgspec.structs.replace(verdict, reasons=(why,))
        with self.measured.stage("decide"):
            # Two long questions take the guard milliseconds that others' requests would wait for.
            longest = len(lookup.question or "") if lookup.near else 0
            if longest > _LONG:
                verdict = await asyncio.to_thread(decide, lookup)
            else:
                verdict = decide(lookup)
        if without:
            reasons = (*verdict.reasons, Reason("embedding", without))
            verdict = msgspec.structs.replace(verdict, reasons=reasons)
        return verdict

    def _looked(self, asked: Asked, verdict: Verdict) -> None:
        category = asked.policy.category
        hit = verdict.outcome is Outcome.HIT_SEMANTIC or verdict.shadow
        self.measured.looked_up(category, hit)
        if verdict.similarity is not None:
            metrics.SIMILARITY.labels(category).observe(verdict.similarity)
        if verdict.threshold is not None:
            metrics.THRESHOLD.labels(category).set(verdict.threshold)

    def _count(self, asked: Asked, found: Found) -> None:
        verdict = found.verdict
        result = "shadow" if verdict.shadow else verdict.outcome.value
        rule = verdict.reasons[-1].rule if verdict.reasons else "nothing-near"
        metrics.LOOKUPS.labels(asked.policy.category, result, rule).inc()
        if found.answer is not None:
            tokens = completion_tokens(found.answer)
            metrics.SAVED_TOKENS.labels(asked.policy.category).inc(tokens)

    def _open(self, asked: Asked, reason: str, detail: str) -> Found:
        metrics.FAILED_OPEN.labels(reason).inc()
        return Found(
            Verdict(
                Outcome.MISS,
                asked.policy.category,
                store=_kept(asked),
                reasons=(Reason("fail open", detail),),
            )
        )

    async def _keep(self, asked: Asked, answer: Answer, seconds: float, epoch: int) -> None:
        spec = self.rules.specs.get(asked.policy.category)
        told = forms(answer)
        if spec is None or not told & asked.form:
            metrics.NOT_STORED.labels("no-form" if spec else "no-category").inc()
            return
        vector = await self._late_vector(asked)
        stored = self._now()
        head = Head(
            id=asked.entry,
            namespace=asked.namespace,
            fingerprint=asked.request.fingerprint,
            tenant=asked.tenant,
            category=asked.policy.category,
            question=asked.request.question if vector is not None else None,
            stored=stored,
            expires=stored + jittered(asked.policy.ttl_max, asked.entry),
            saved=seconds,
            forms=int(told),
            model=MODEL if vector is not None else "",
            vector=b"" if vector is None else vector.astype(np.float16).tobytes(),
        )
        try:
            await self._store.put(head, answer)
            if self._purged_since(epoch, head):
                await self._store.delete([head.id])
                metrics.NOT_STORED.labels("purged").inc()
                return
            gone = self.index.put(
                head,
                priority=spec.priority,
                quota=spec.quota_entries,
                threshold=asked.policy.threshold,
            )
            if gone:
                metrics.GONE.labels("evicted").inc(len(gone))
                await self._store.delete(gone)
        except Exception as error:  # noqa: BLE001 - whatever it is, the request was answered
            log.warning("an answer couldn't be kept", problem=str(error))
            metrics.NOT_STORED.labels("store").inc()
            return
        metrics.STORED.labels(asked.policy.category).inc()

    def states(self) -> dict[str, economics.Economics]:
        """Return each category's economics."""
        return {name: self.measured.economy(name) for name in self.rules.policies}


def _kept(asked: Asked) -> bool:
    """Whether its answer may be kept where no decision says so."""
    policy = asked.policy
    off = policy.mode is Mode.OFF or policy.caching is Tier.BYPASS
    return asked.eligibility.store and not off
