"""`pools --serving` and `migrations`: what ServingPools say of their engines and moving requests.

Called by `app` and `verbs`. Everything is read from the pools' status, so that whoever may see a
ServingPool sees this, and needs no way to the gateways. The tables are pure functions.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import msgspec

from fairstow.cli import terminal
from fairstow.cli.layout import table
from fairstow.cli.live import Live
from fairstow.cli.objects import SERVING_POOLS, Objects, objects, read
from fairstow.cli.options import Output, PictureOutput, refuse
from fairstow.cli.seen import View, age
from fairstow.cli.serialise import as_json
from fairstow.cluster.errors import InputError
from fairstow.report.hops import Hop, drawing

_QUIET = 50
"""Seconds after which a watch is begun anew, below the connection's longest silence."""


class Meta(View, frozen=True):
    """metadata."""

    name: str
    namespace: str = ""


class Engine(View, frozen=True):
    """One of status.engines."""

    pod: str
    state: str = ""
    running: int = 0
    waiting: int = 0
    memory_permille: int | None = None
    freeness_steps: int | None = None
    compatibility: str = ""
    problem: str = ""


class Migration(View, frozen=True):
    """One of status.migrations."""

    time: str
    request: str
    from_: str = msgspec.field(default="", name="from")
    to: str = ""
    outcome: str = ""
    reason: str = ""
    tokens: int = 0
    pause_milliseconds: int | None = None


class Status(View, frozen=True):
    """status of a ServingPool."""

    engines: tuple[Engine, ...] = ()
    migrations: tuple[Migration, ...] = ()


class Pool(View, frozen=True):
    """A ServingPool."""

    metadata: Meta
    status: Status = Status()

    @property
    def ref(self) -> str:
        """The pool as namespace/name."""
        return f"{self.metadata.namespace}/{self.metadata.name}"


class _Event(View, frozen=True):
    type: str
    object: msgspec.Raw


def engines(
    live: Live, name: str | None, namespace: str | None, output: Output, *, watch: bool
) -> None:
    """Show the engines of pools."""
    with objects(live) as api:
        if watch:
            _only_a_table(output.value, when=output is not Output.TEXT)
            follow(api, name, namespace, _ENGINE_HEADS, _ENGINE_WIDTHS, _engine_rows)
            return
        pools = _pools(api, name, namespace)
    if output is Output.JSON:
        found = [_flat(pool, engine) for pool in pools for engine in pool.status.engines]
        terminal.write(as_json(found))
        return
    if not pools:
        terminal.note(_no_pools(name, namespace))
        return
    terminal.write("\n".join(engine_table(pools, terminal.look().width)))
    for pool in pools:
        for engine in pool.status.engines:
            if engine.problem:
                terminal.warn(f"{engine.pod}: {engine.problem}")


def migrations(
    live: Live, name: str | None, namespace: str | None, output: PictureOutput, *, watch: bool
) -> None:
    """Show the requests that moved lately."""
    with objects(live) as api:
        if watch:
            _only_a_table(output.value, when=output is not PictureOutput.TABLE)
            follow(api, name, namespace, ("POOL", *_MOVE_HEADS), _MOVE_WIDTHS, _move_rows)
            return
        pools = _pools(api, name, namespace)
    match output:
        case PictureOutput.JSON:
            found = [_flat(pool, each) for pool in pools for each in pool.status.migrations]
            terminal.write(as_json(found))
        case PictureOutput.SVG:
            terminal.write(drawn(pools))
        case PictureOutput.TABLE:
            if not any(pool.status.migrations for pool in pools):
                said = "No request has moved lately." if pools else _no_pools(name, namespace)
                terminal.note(said)
                return
            lines = migration_table(pools, time.time(), terminal.look().width)
            terminal.write("\n".join(lines))


_ENGINE_HEADS = ("POOL", "ENGINE", "STATE", "RUN", "WAIT", "MEMORY", "FREENESS", "CLASS")
_ENGINE_WIDTHS = (24, 32, 9, 5, 5, 6, 8, 0)
_MOVE_HEADS = ("REQUEST", "FROM", "TO", "HOW", "WHY", "TOKENS", "PAUSE")
_MOVE_WIDTHS = (24, 20, 32, 32, 10, 20, 7, 0)


def engine_table(pools: Iterable[Pool], width: int | None) -> list[str]:
    """Return the engines of pools as lines."""
    rows = [row for pool in pools for row in _engine_rows(pool)]
    return table(_ENGINE_HEADS, rows, width, "lllrrrr")


def migration_table(pools: Iterable[Pool], now: float, width: int | None) -> list[str]:
    """Return what moved in pools as lines: those that ended, then those under way."""
    rows = [
        [pool.ref, *_move(each), f"{age(each.time, now)} ago"]
        for pool in pools
        for each in pool.status.migrations
    ]
    return table(("POOL", *_MOVE_HEADS, "WHEN"), rows, width, "llllllrr")


def _engine_rows(pool: Pool) -> Iterator[list[str]]:
    for each in pool.status.engines:
        memory = "-" if each.memory_permille is None else f"{each.memory_permille // 10} %"
        free = "-" if each.freeness_steps is None else str(each.freeness_steps)
        load = [str(each.running), str(each.waiting), memory, free]
        yield [pool.ref, each.pod, each.state, *load, each.compatibility or "-"]


def _move_rows(pool: Pool) -> Iterator[list[str]]:
    for each in pool.status.migrations:
        if each.outcome != "UnderWay":
            yield [pool.ref, *_move(each)]


def _move(each: Migration) -> list[str]:
    pause = "-" if each.pause_milliseconds is None else f"{each.pause_milliseconds} ms"
    how = "under way" if each.outcome == "UnderWay" else each.outcome.lower()
    where = [each.request, each.from_ or "-", each.to or "-"]
    return [*where, how, each.reason or "-", str(each.tokens), pause]


def drawn(pools: Sequence[Pool]) -> str:
    """Return what moved in pools as an SVG."""
    names = [engine.pod for pool in pools for engine in pool.status.engines]
    hops = [
        Hop(
            at=each.time, request=each.request, source=each.from_, destination=each.to,
            outcome=each.outcome, said=", ".join(_move(each)[3:]),
        )
        for pool in pools for each in pool.status.migrations
    ]  # fmt: skip
    return drawing(hops, names, ", ".join(pool.ref for pool in pools) or "no pool")


def _pools(api: Objects, name: str | None, namespace: str | None) -> list[Pool]:
    found = [read(item, Pool) for item in api.listed(SERVING_POOLS, namespace)[0]]
    found = [pool for pool in found if name in (None, pool.metadata.name)]
    if name is not None and not found:
        raise InputError(f"servingpool/{name}", _no_pools(name, namespace))
    return sorted(found, key=lambda pool: pool.ref)


def _no_pools(name: str | None, namespace: str | None) -> str:
    what = "No ServingPool" + (f" is called {name}" if name else "")
    return what + (f" in namespace {namespace}" if namespace else "") + "."


def _flat(pool: Pool, entry: msgspec.Struct) -> dict[str, Any]:
    said: dict[str, Any] = msgspec.to_builtins(entry)
    return {"namespace": pool.metadata.namespace, "pool": pool.metadata.name} | said


def _only_a_table(output: str, *, when: bool) -> None:
    refuse("-w", f"shows a table, so -o {output} has no meaning", when=when)


def follow(
    api: Objects,
    name: str | None,
    namespace: str | None,
    heads: Sequence[str],
    widths: Sequence[int],
    rows: Callable[[Pool], Iterable[list[str]]],
) -> None:
    """Print each row that is new or changed, until Ctrl-C."""
    said: set[tuple[str, ...]] = set()
    terminal.write(_laid(("TIME", *heads), (8, *widths)))

    def show(pool: Pool) -> None:
        nonlocal said
        if name not in (None, pool.metadata.name):
            return
        now = {tuple(row): row for row in rows(pool)}
        for key, row in now.items():
            if key not in said:
                terminal.write(_laid((time.strftime("%H:%M:%S"), *row), (8, *widths)))
        said = {key for key in said if key[0] != pool.ref} | now.keys()

    while True:
        items, version = api.listed(SERVING_POOLS, namespace)
        for pool in sorted((read(item, Pool) for item in items), key=lambda each: each.ref):
            show(pool)
        for line in api.watch(SERVING_POOLS, version, _QUIET, namespace):
            event = read(line, _Event)
            if event.type == "ERROR":  # the version is too old: list anew
                break
            if event.type != "DELETED":
                show(read(event.object, Pool))


def _laid(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(c.ljust(w) for c, w in zip(cells, widths, strict=True)).rstrip()
