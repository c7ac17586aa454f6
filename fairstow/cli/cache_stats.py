"""`cache stats`: what SemanticCaches say of their categories, pods and sidecars.

Called by `caching`. Everything is read from the caches' status, so that whoever may see a
SemanticCache sees this, and needs no way to its sidecars. The tables are pure functions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec

from fairstow.cli import terminal
from fairstow.cli.layout import table, wrapped
from fairstow.cli.live import Live
from fairstow.cli.objects import CACHES, objects, read
from fairstow.cli.options import PictureOutput
from fairstow.cli.seen import View
from fairstow.cli.serialise import as_json
from fairstow.cluster.errors import InputError
from fairstow.report.caches import Bar, drawing


class Meta(View, frozen=True):
    """metadata."""

    name: str
    namespace: str = ""


class Category(View, frozen=True):
    """One of status.categories."""

    name: str
    mode: str = ""
    semantic: str = "Unknown"
    message: str = ""
    entries: int = 0
    quota_entries: int = 0
    fullest_tenant: int = 0
    lookups: int = 0
    hit_permille: int | None = None
    break_even_permille: int | None = None
    threshold_permille: int | None = None
    labels: int = 0
    wrong: int = 0
    budget: str = ""


class Condition(View, frozen=True):
    """One of status.conditions."""

    type: str
    status: str
    message: str = ""


class Status(View, frozen=True):
    """status of a SemanticCache."""

    pods: int = 0
    injected: int = 0
    missed: int = 0
    answering: int = 0
    entries: int = 0
    requests: int = 0
    hit_rate: str | None = None
    load_permille: int | None = None
    load_source: str | None = None
    categories: tuple[Category, ...] = ()
    conditions: tuple[Condition, ...] = ()


class Cache(View, frozen=True):
    """A SemanticCache."""

    metadata: Meta
    status: Status = Status()

    @property
    def ref(self) -> str:
        """The cache as namespace/name."""
        return f"{self.metadata.namespace}/{self.metadata.name}"


def stats(live: Live, name: str | None, namespace: str | None, output: PictureOutput) -> None:
    """Show the categories of caches.

    Raises:
        InputError: there is no cache of this name.
    """
    with objects(live) as api:
        found = [read(item, Cache) for item in api.listed(CACHES, namespace)[0]]
    caches = sorted(
        (each for each in found if name in (None, each.metadata.name)), key=lambda each: each.ref
    )
    if name is not None and not caches:
        raise InputError(f"semanticcache/{name}", _none(name, namespace))
    match output:
        case PictureOutput.JSON:
            terminal.write(as_json([flat(each) for each in caches]))
        case PictureOutput.SVG:
            terminal.write(drawn(caches))
        case PictureOutput.TABLE:
            if not caches:
                terminal.note(_none(name, namespace))
                return
            terminal.write("\n".join(lines(caches, terminal.look().width)))


_HEADS = (
    *("CACHE", "CATEGORY", "MODE", "TIER", "LOOKUPS", "HITS", "BREAK-EVEN", "THRESHOLD"),
    *("ENTRIES", "QUOTA USED", "WRONG"),
)


_SOURCES = {
    "Gateway": "its gateway's word",
    "Latency": "its latency",
    "Mixed": "its gateway's word or its latency",
}


def lines(caches: Iterable[Cache], width: int | None) -> list[str]:
    """Return a table of categories, then how each cache is, and what is wrong with it."""
    caches = list(caches)
    rows = [row for cache in caches for row in _rows(cache)]
    said = table(_HEADS, rows, width, "llllrrrrrrr") if rows else []
    for cache in caches:
        status = cache.status
        hits = f", {status.hit_rate} from memory" if status.hit_rate else ""
        pods = f"{status.injected} of {status.pods} pods have the sidecar"
        asked = f"{status.requests:,} requests{hits}"
        said += ["", f"{cache.ref}: {pods}, {status.answering} answer; {asked}"]
        if status.load_source is not None:
            by = _SOURCES.get(status.load_source, status.load_source)
            said.append(f"  upstream's load: {_percent(status.load_permille)}, by {by}")
        troubles = (c for c in status.conditions if c.status == "False")
        said += [wrapped(f"{c.type}: {c.message}", width, "  ", "    ") for c in troubles]
        said += [
            wrapped(f"{c.name}: {c.message}", width, "  ", "    ")
            for c in status.categories
            if c.semantic == "Off"
        ]
    return said


def _rows(cache: Cache) -> Iterator[list[str]]:
    for each in cache.status.categories:
        share = each.fullest_tenant / each.quota_entries if each.quota_entries else 0
        yield [
            cache.ref, each.name, each.mode, each.semantic, f"{each.lookups:,}",
            _percent(each.hit_permille), _percent(each.break_even_permille),
            "-" if each.threshold_permille is None else f"{each.threshold_permille / 1000:.3f}",
            f"{each.entries:,}", f"{100 * share:.0f} %",
            f"{each.wrong} of {each.labels}" if each.labels else "-",
        ]  # fmt: skip


def drawn(caches: Sequence[Cache]) -> str:
    """Return categories as an SVG."""

    def share(permille: int | None) -> float | None:
        return None if permille is None else permille / 1_000

    bars = [
        Bar(
            name=f"{cache.metadata.name}/{each.name}", semantic=each.semantic,
            said=f"{each.message} {each.budget}".strip(), hit_rate=share(each.hit_permille),
            break_even=share(each.break_even_permille), threshold=share(each.threshold_permille),
            fullest=each.fullest_tenant, quota=each.quota_entries,
            wrong=each.wrong, labels=each.labels,
        )
        for cache in caches for each in cache.status.categories
    ]  # fmt: skip
    return drawing(bars, ", ".join(cache.ref for cache in caches) or "no cache")


def flat(cache: Cache) -> dict[str, Any]:
    """Return a cache as JSON shows it."""
    said: dict[str, Any] = msgspec.to_builtins(cache.status)
    return {"namespace": cache.metadata.namespace, "cache": cache.metadata.name} | said


def _percent(permille: int | None) -> str:
    return "-" if permille is None else f"{permille / 10:.1f} %"


def _none(name: str | None, namespace: str | None) -> str:
    what = "No SemanticCache" + (f" is called {name}" if name else "")
    return what + (f" in namespace {namespace}" if namespace else "") + "."
