"""Look-ups per second of a core, added latency, memory and recall, beside GPTCache and Redis.

    python -m benchmarks.cache_lookup [--entries 10000] [--memory 100000] [--rounds 200] [-o RESULT]

All caches get the same vectors, from memory: no model's time is in their figures, except in those
of added latency. Seconds are of CPU, of all threads, so that a busy machine blurs them less; the
server's are counted to Redis. Exits with 1 where `benchmarks/bounds.yaml` isn't kept.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

from benchmarks.cache_lookup import latency, ours, peers
from benchmarks.closing import verdict
from benchmarks.provenance import provenance

_BOUNDS = Path(__file__).parents[1] / "bounds.yaml"
_FOLDERS = ("fairstow/semantic_cache", "fairstow/cache_sidecar", "benchmarks/cache_lookup")


def main() -> int:
    """Run the benchmark; 0 if the bounds hold."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--entries", type=int, default=10_000)
    parser.add_argument("--lookups", type=int, default=1_000)
    parser.add_argument("--memory", type=int, default=100_000, help="entries")
    parser.add_argument("--rounds", type=int, default=200, help="of requests, for the latency")
    parser.add_argument("--no-peers", action="store_true", help="leave GPTCache out")
    parser.add_argument("-o", "--output", type=Path, help="write the result as JSON")
    options = parser.parse_args()
    caches = _caches(options.entries, options.lookups, peers_too=not options.no_peers)
    empty, added = _memory(options.memory)
    found = {
        "entries": options.entries,
        "caches": caches,
        "latency": latency.added(options.rounds),
        "memory": {"entries": options.memory, "empty": empty, "added": added},
        "recall": ours.recall(options.memory, 500),
    }
    _print(found)
    if options.output:
        about = provenance("usearch", "onnxruntime", "redis", folders=_FOLDERS)
        about["gptcache"] = peers.GPTCACHE
        written = {"provenance": about, "result": found}
        options.output.write_text(json.dumps(written, indent=1) + "\n")
    return verdict(_missed(found, yaml.safe_load(_BOUNDS.read_text())["cache_lookup"]))


def _caches(count: int, asked: int, *, peers_too: bool) -> dict[str, dict[str, float]]:
    with tempfile.TemporaryDirectory() as folder:
        found = {"Fairstow": ours.look_ups(count, asked, Path(folder))}
    if peers_too:
        found["GPTCache"] = peers.gptcache(count, asked)
    redis = peers.plain_redis(count, asked)
    if redis is not None:
        found["Redis, same text only"] = redis
    return found


def _memory(count: int) -> tuple[int, int]:
    command = [sys.executable, "-m", "benchmarks.cache_lookup.ours", str(count)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    empty, added = map(int, done.stdout.split()[-2:])
    return empty, added


def _print(found: dict[str, Any]) -> None:
    print(
        f"| {found['entries']:,} entries | look-ups/s of a core | p50 | hits, of 50 % due | right |"
    )
    print("|---|---:|---:|---:|---:|")
    for name, row in found["caches"].items():
        shares = f"{row['hits']:.1%} | {row['right']:.1%}"
        print(f"| {name} | {1 / row['cpu']:,.0f} | {row['p50'] * 1e3:.2f} ms | {shares} |")
    print("\n| request | p50 |\n|---|---:|")
    for name, seconds in found["latency"].items():
        print(f"| {name} | {seconds * 1e3:.2f} ms |")
    memory = found["memory"]
    print(
        f"\n{memory['entries']:,} entries add {memory['added'] / 1e6:.0f} MB to "
        f"{memory['empty'] / 1e6:.0f} MB; the nearest is found in {found['recall']:.2%}."
    )


def _missed(found: dict[str, Any], bounds: dict[str, Any]) -> list[str]:
    missed, caches, taken = [], found["caches"], found["latency"]
    if "GPTCache" in caches:
        times = caches["GPTCache"]["cpu"] / caches["Fairstow"]["cpu"]
        if times < bounds["times_gptcache"]["at_least"]:
            missed.append(f"only {times:.1f} times GPTCache's look-ups per second of a core")
    embedding = max(0.0, taken["semantic"] - taken["semantic, known vector"])
    miss = taken["miss"] - taken["straight"] - embedding
    if miss > bounds["miss_seconds"]["at_most"]:
        missed.append(f"a miss adds {miss * 1e3:.2f} ms beside the embedding")
    hit = taken["semantic, known vector"] - taken["straight"]
    if hit > bounds["hit_seconds"]["at_most"]:
        missed.append(f"a hit takes {hit * 1e3:.2f} ms more than a server that waits for nothing")
    per_entry = found["memory"]["added"] / found["memory"]["entries"]
    if per_entry > bounds["bytes_per_entry"]["at_most"]:
        missed.append(f"an entry takes {per_entry:.0f} bytes")
    if found["recall"] < bounds["recall"]["at_least"]:
        missed.append(f"the nearest is found in {found['recall']:.2%} only")
    return missed


if __name__ == "__main__":
    sys.exit(main())
