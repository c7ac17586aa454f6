"""The port beside the clients': health, metrics, and what an owner asks of a cache.

Only for this machine or for holders of a token: it shows questions and removes entries. `/healthz`
and `/readyz` are open to all; they don't depend on model or store, since requests pass without.

    GET  /stats      entries, hit rates and break-even by category
    POST /explain    {path, body, headers} → what would become of the request, and why
    POST /purge      {entry | category | tenant | all, dryRun} → how many entries
    POST /feedback   {entry} → the entry, which was wrong, is gone
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from fairstow.cache_sidecar import answers, metrics
from fairstow.cache_sidecar.app import CACHED, Sidecar
from fairstow.cache_sidecar.memory import Memory
from fairstow.cache_sidecar.stores.records import Purged, StoreError
from fairstow.semantic_cache import economics, error_budget
from fairstow.semantic_cache.decision import Outcome, Verdict
from fairstow.semantic_cache.sidecar_stats import CategoryStats, Stats
from fairstow.web.errors import ApiError
from fairstow.web.exchange import ClientLeftError, Exchange, Receive, Scope, Send
from fairstow.web.guards import Guard

_LONGEST = 4 << 20
_HITS = (Outcome.HIT_EXACT.value, Outcome.HIT_SEMANTIC.value)


class _Body(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    pass


class Explain(_Body, frozen=True):
    """A request as a client would send it; `headers` as it would, its key among them."""

    path: str
    body: dict[str, Any]
    headers: dict[str, str] = {}


class Explained(_Body, frozen=True):
    """What would become of it; `by`: the rule that chose the category."""

    verdict: Verdict
    by: str


class Purge(_Body, frozen=True):
    """Which entries go: those that all of the given fields name; `all` where none is."""

    entry: str | None = None
    category: str | None = None
    tenant: str | None = None
    all: bool = False
    dry_run: bool = False


class Feedback(_Body, frozen=True):
    """An answer from the cache was wrong."""

    entry: str


Body = TypeVar("Body", Explain, Purge, Feedback)


class Admin:
    """The application. Args: unready: why clients had better not come, or ""."""

    def __init__(self, sidecar: Sidecar, guard: Guard, unready: Callable[[], str]) -> None:
        self._sidecar = sidecar
        self._guard = guard
        self._unready = unready

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        exchange = Exchange(scope, receive, send, keep_alive=10.0, longest=_LONGEST)
        try:
            await self._answer(exchange)
        except ApiError as error:
            await exchange.fail(error)
        except StoreError as error:
            await exchange.fail(ApiError(503, f"The store can't be had: {error}", retry_after=1))
        except ClientLeftError:
            pass
        finally:
            exchange.close()

    async def _answer(self, exchange: Exchange) -> None:
        match exchange.method, exchange.path:
            case "GET", "/healthz":
                await exchange.text(b"ok")
                return
            case "GET", "/readyz":
                why = self._unready()
                await exchange.text(why.encode() or b"ok", 503 if why else 200)
                return
        await self._guard(exchange.header(b"authorization") or "", exchange.path)
        match exchange.method, exchange.path:
            case "GET", "/metrics":
                self._gauges()
                found = generate_latest(metrics.REGISTRY)
                await exchange.text(found, kind=CONTENT_TYPE_LATEST)
            case "GET", "/stats":
                await exchange.answer(msgspec.json.encode(_stats(self._memory())))
            case "POST", "/explain":
                explained = await self._explain(await _read(exchange, Explain))
                await exchange.answer(msgspec.json.encode(explained))
            case "POST", "/purge":
                count = await self._purge(await _read(exchange, Purge))
                await exchange.answer(msgspec.json.encode({"entries": count}))
            case "POST", "/feedback":
                told = await _read(exchange, Feedback)
                count = await self._memory().remove([told.entry], "complained")
                if not count:
                    raise ApiError(404, f"There is no entry {told.entry[:64]!r}.")
                await exchange.answer(msgspec.json.encode({"entries": count}))
            case _, ("/metrics" | "/stats" | "/explain" | "/purge" | "/feedback"):
                raise ApiError(405, "Another method is needed; see docs/cache.md.")
            case _:
                raise ApiError(404, f"Unknown path {exchange.path[:200]}.")

    def _memory(self) -> Memory:
        if self._sidecar.memory is None:
            raise ApiError(503, "The cache isn't ready yet.", retry_after=1)
        return self._sidecar.memory

    async def _explain(self, asks: Explain) -> Explained:
        memory = self._memory()
        endpoint = CACHED.get(asks.path)
        form = answers.wanted(endpoint, asks.body) if endpoint is not None else None
        if endpoint is None or form is None:
            raise ApiError(400, f"That is never cached. Paths that are: {sorted(CACHED)}.")
        headers = [
            (name.lower().encode("latin-1", "replace"), value.encode("latin-1", "replace"))
            for name, value in asks.headers.items()
        ]
        said = {name: value.decode("latin-1") for name, value in headers}
        client = self._sidecar.callers.of(headers, memory.rules.accounts)
        asked = memory.asked(
            endpoint,
            asks.body,
            form,
            client.caller if client is not None else None,
            said.get,
            trusted=client is not None and self._sidecar.callers.trusted(client),
            remember=False,
        )
        if asked is None:
            raise ApiError(400, "Nobody is known to ask: headers lack the client's key.")
        verdict, by = await memory.explain(asked)
        return Explained(verdict, by)

    async def _purge(self, asks: Purge) -> int:
        memory = self._memory()
        if asks.all == any((asks.entry, asks.category, asks.tenant)):
            raise ApiError(400, "Name an entry, category or tenant; or all, and nothing else.")
        what = Purged(asks.entry, asks.category, asks.tenant)
        return len(memory.index.meant(what)) if asks.dry_run else await memory.purge(what)

    def _gauges(self) -> None:
        memory = self._sidecar.memory
        if memory is None:
            return
        metrics.ENTRIES.set(len(memory.index))
        for name, most in _fullest(memory).items():
            metrics.QUOTA_USED.labels(name).set(most)
            _labelled(memory, name)


async def _read(exchange: Exchange, kind: type[Body]) -> Body:
    try:
        return msgspec.json.decode(await exchange.body(), type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ApiError(400, f"The body can't be used: {error}") from None


def _stats(memory: Memory) -> Stats:
    times = memory.measured.times()
    fullest = _fullest(memory)
    entries = dict.fromkeys(memory.rules.policies, 0)
    for (_, category), count in memory.index.usage():
        entries[category] = entries.get(category, 0) + count
    asked = _asked()
    found = {}
    for name, state in memory.states().items():
        at = economics.break_even(times)
        known = times.upstream > 0
        found[name] = CategoryStats(
            mode=memory.rules.policies[name].mode.value,
            entries=entries[name],
            fullest_tenant=fullest[name],
            quota=memory.rules.specs[name].quota_entries,
            lookups=round(state.lookups, 1),
            hit_rate=round(state.rate, 4),
            break_even=round(at, 4) if known and at < 1 else None,
            semantic=economics.reason(state, times) if known else "nothing is measured yet",
            requests=sum(asked.get(name, {}).values()),
            hits=sum(asked.get(name, {}).get(each, 0) for each in _HITS),
            threshold=metrics.threshold(name),
            **_labelled(memory, name),
        )
    load = memory.measured.load(memory.rules.said.load)
    source = memory.measured.load_source
    return Stats(len(memory.index), memory.index.vectors(), load, found, source)


def _asked() -> dict[str, dict[str, int]]:
    """Return how many requests came to each result, by category."""
    found: dict[str, dict[str, int]] = {}
    for category, result, count in metrics.lookups():
        results = found.setdefault(category, {})
        results[result] = results.get(result, 0) + count
    return found


def _labelled(memory: Memory, category: str) -> dict[str, Any]:
    rules = memory.rules
    budget, evidence = rules.budgets[category], memory.labelling.evidence(category, rules)
    at = budget.grid.index(rules.policies[category].threshold)
    labels, most = evidence.labels[at], error_budget.bounds(evidence, budget)[at]
    metrics.WRONG_AT_MOST.labels(category).set(most)
    allowed, spent = memory.labelling.allowed(category, rules)
    said = "Spent: labels show that it isn't kept" if spent else "Unknown: too few labels yet"
    if allowed is not None:
        signed = rules.policies[category].budget_signed
        why = "Signed, and no label refutes it" if signed else "Kept"
        said = f"{why}: from a similarity of {allowed:.3f}"
    return {
        "labels": labels.hits,
        "wrong": labels.wrong,
        "wrong_at_most": round(most, 4),
        "budget": said,
    }


def _fullest(memory: Memory) -> dict[str, int]:
    found = dict.fromkeys(memory.rules.policies, 0)
    for (_, category), count in memory.index.usage():
        if category in found:
            found[category] = max(found[category], count)
    return found
