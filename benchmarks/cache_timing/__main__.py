"""Can one tenant tell by the time of an answer what another has cached?

    python -m benchmarks.cache_timing [--blocks 60] [-o RESULT] [--page]

A real sidecar with the real model before a server that waits for nothing, and two callers by key.
In each block A asks `EACH` questions, then B asks, in random order: what A asked word for word, the
same in near words, questions that nobody asked in both forms, and (to see that the measure sees
anything) its own again. Others are asked by B once, since its own answers are kept, too.

With ranks inside a block of n times of one kind and n of questions that nobody asked, U counts the
pairs where the former was slower: no difference means E[U] = n²/2, Var[U] = n²(2n + 1)/12 by
permutation. z sums U over blocks, so that a drift of the machine's load goes out. Reported is the
share U/n² of pairs, 0.5 where time tells nothing, with the 95 % interval from its variance between
blocks, and the difference of medians in µs, likewise.

Every block has a category of its own, since a semantic tier that saves nothing, before such a
server, would be switched off (`economics.LEAST` look-ups); there are at most 64. Exits with 1 where
`benchmarks/bounds.yaml` isn't kept.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import time
from math import erfc, sqrt
from pathlib import Path
from statistics import fmean, median, stdev
from typing import Any

import aiohttp
import yaml

from benchmarks.cache_lookup.latency import sidecar
from benchmarks.closing import rewrite, save, verdict

EACH = 20
"""Questions of each kind in a block, whose look-ups are fewer than `economics.LEAST`."""
CONTROL = "B's own, word for word"
KINDS = {
    "A's, word for word": "nobody's",
    "near A's": "near nobody's",
    CONTROL: "nobody's",
}
"""What is asked, and which questions that nobody asked have the same form."""
_SETTLED = 0.1
"""Seconds until what was answered is kept."""
_BETWEEN = 0.005
"""Seconds, likewise, so that keeping the last answer doesn't blur the next one's time."""
_ROOT = Path(__file__).parents[2]
_PAGE = _ROOT / "docs" / "benchmarks" / "cache.md"
_MARKS = ("<!-- timing: begin -->", "<!-- timing: end -->")
_FOLDERS = ("fairstow/semantic_cache", "fairstow/cache_sidecar", "benchmarks/cache_timing")
_THINGS = ("password", "invoice", "address", "report", "licence", "calendar", "contract", "badge")

Times = dict[str, list[float]]


def main() -> int:
    """Run the benchmark; 0 if the bounds hold."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--blocks", type=int, default=60, choices=range(2, 64), metavar="N")
    parser.add_argument("-o", "--output", type=Path, help="write the result as JSON")
    parser.add_argument("--page", action="store_true", help="write the result into its page")
    options = parser.parse_args()
    blocks = asyncio.run(_blocks(options.blocks))
    found = {
        kind: told_apart([(each[kind], each[new]) for each in blocks])
        for kind, new in KINDS.items()
    }
    text = _table(found, options.blocks)
    print(text)
    if options.output:
        save(options.output, {"blocks": options.blocks, "kinds": found}, folders=_FOLDERS)
    if options.page:
        rewrite(_PAGE, _MARKS, text)
    bounds = yaml.safe_load((_ROOT / "benchmarks" / "bounds.yaml").read_text())["cache_timing"]
    return verdict(_missed(found, bounds))


def told_apart(blocks: list[tuple[list[float], list[float]]]) -> dict[str, float]:
    """Return how well times of one kind are told from others', by block; see the module."""
    shares, apart, z, variance = [], [], 0.0, 0.0
    for ours, others in blocks:
        pairs = len(ours) * len(others)
        u = sum((a > b) + (a == b) / 2 for a in ours for b in others)
        shares.append(u / pairs)
        apart.append((median(ours) - median(others)) * 1e6)
        z += u - pairs / 2
        variance += pairs * (len(ours) + len(others) + 1) / 12
    half, micro = (1.96 * stdev(each) / sqrt(len(blocks)) for each in (shares, apart))
    share, mean = fmean(shares), fmean(apart)
    return {
        "slower": share,
        "slower_low": share - half,
        "slower_high": share + half,
        "p": erfc(abs(z) / sqrt(2 * variance)),
        "micros": mean,
        "micros_low": mean - micro,
        "micros_high": mean + micro,
        "median_micros": median(a for ours, _ in blocks for a in ours) * 1e6,
    }


async def _blocks(count: int) -> list[Times]:
    chance, number = random.Random(42), iter(range(10**9))
    names = [f"block{block}" for block in range(count + 1)]
    config = {
        "mode": "Enforce",
        "reask": {"permille": 0},
        "lookupDeadlineSeconds": 5,
        "categories": [{"name": name, "calibrationSigned": True} for name in names],
        "header": {"name": "x-block", "mapping": {name: name for name in names}},
    }

    def questions() -> list[tuple[str, str]]:
        things = (
            f"{chance.choice(_THINGS)} of department {100_000 + 7 * next(number)}"
            for _ in range(EACH)
        )
        return [(f"How do I renew the {each}?", f"how do I renew the {each}, please")
                for each in things]  # fmt: skip

    async with sidecar(yaml.safe_dump(config)) as (http, _, through):
        found = []
        for name in names:
            exact, near, own, new, other = (questions() for _ in range(5))
            ask = _Asking(http, through, name)
            await ask.time("b", "accepted from here on?")
            for question, _ in (*exact, *near):
                await ask.time("a", question)
            for question, _ in own:
                await ask.time("b", question)
            await asyncio.sleep(_SETTLED)
            plan = [("A's, word for word", question) for question, _ in exact]
            plan += [("near A's", question) for _, question in near]
            plan += [(CONTROL, question) for question, _ in own]
            plan += [("nobody's", question) for question, _ in new]
            plan += [("near nobody's", question) for _, question in other]
            found.append(await _block(ask, chance.sample(plan, len(plan))))
        return found[1:]  # the first warms up


class _Asking:
    def __init__(self, http: aiohttp.ClientSession, url: str, block: str) -> None:
        self._http, self._url, self._block = http, url, block

    async def time(self, key: str, question: str) -> tuple[str, float]:
        messages = [{"role": "user", "content": question}]
        body = {"model": "m", "temperature": 0, "messages": messages}
        headers = {"authorization": f"Bearer {key}", "x-block": self._block}
        url = f"{self._url}/v1/chat/completions"
        began = time.perf_counter()
        async with self._http.post(url, json=body, headers=headers) as reply:
            await reply.read()
            return reply.headers["x-cache"], time.perf_counter() - began


async def _block(ask: _Asking, plan: list[tuple[str, str]]) -> Times:
    times: Times = {}
    for kind, question in plan:
        await asyncio.sleep(_BETWEEN)
        said, seconds = await ask.time("b", question)
        expected = "hit-exact" if kind == CONTROL else "miss"
        assert said == expected, f"{kind}: {said}"
        times.setdefault(kind, []).append(seconds)
    return times


def _table(found: dict[str, dict[str, float]], blocks: int) -> str:
    lines = [
        f"{blocks} blocks of {EACH} questions of each kind; two cores, other work beside.\n",
        "| B asks | slower than nobody's, of the pairs | 95 % | p | median differs by | 95 % |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for kind, row in found.items():
        share, low, high = (100 * row[each] for each in ("slower", "slower_low", "slower_high"))
        micros = f"{row['micros']:+.0f} µs | {row['micros_low']:+.0f} to {row['micros_high']:+.0f}"
        lines.append(
            f"| {kind} | {share:.1f} % | {low:.1f} to {high:.1f} | {row['p']:.2g} | {micros} |"
        )
    return "\n".join(lines)


def _missed(found: dict[str, dict[str, float]], bounds: dict[str, Any]) -> list[str]:
    missed, most = [], bounds["apart"]["at_most"]
    for kind, row in found.items():
        if kind == CONTROL:
            continue
        apart = max(abs(row["slower_low"] - 0.5), abs(row["slower_high"] - 0.5))
        if apart > most:
            missed.append(f"{kind}: slower in 50 % ± {apart:.1%} of the pairs may be true")
        if row["p"] < bounds["p"]["at_least"]:
            missed.append(f"{kind}: told from what nobody asked, p = {row['p']:.1g}")
    if abs(found[CONTROL]["slower"] - 0.5) < bounds["control"]["at_least"]:
        missed.append("hits of one's own aren't seen: this measured nothing")
    return missed


if __name__ == "__main__":
    sys.exit(main())
