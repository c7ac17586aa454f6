"""Hits that were due against traps: cosine alone, with the guard, with guard and verifier.

    python -m benchmarks.cache_safety [--quora 2000] [-o RESULT]

On fow the verifier is trained, and every threshold chosen, on nine tenths of the topics and
measured on the rest, ten times round, for five draws of the folds. The rules and lists of the guard
are fixed; they were written with the fow pairs at hand, so that the figure on fow flatters them:
Quora's pairs 13,000 and up and sixty of our own were never looked at, and what ships is tried on
them as it is. Bounds are Clopper and Pearson's, one-sided, 95 %. Exits with 1 where
`benchmarks/bounds.yaml` isn't kept.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml

from benchmarks.cache_safety.pairs import Pair, folds, fow, own, qqp, similarities
from benchmarks.cache_safety.train import ACCEPT, fit, table
from benchmarks.closing import verdict
from benchmarks.provenance import provenance
from fairstow.cache_sidecar.embedding import Embedder
from fairstow.semantic_cache.bounds import upper
from fairstow.semantic_cache.calibration import GRID
from fairstow.semantic_cache.equivalence import compare
from fairstow.semantic_cache.guard import judge

Mask = npt.NDArray[np.bool_]
Numbers = npt.NDArray[np.float64]
WRONG = 0.02
_BOUNDS = Path(__file__).parents[1] / "bounds.yaml"
_SHOWN = (700, 800, 850, 900, 950)


def main() -> int:
    """Run the benchmark; 0 if the bounds hold."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quora", type=int, default=2_000, help="pairs of Quora's second half")
    parser.add_argument("-o", "--output", type=Path, help="write the result as JSON")
    options = parser.parse_args()
    embedder = Embedder(threads=2)
    found = {
        "fow": _fow(embedder),
        "own, rules mended with them": _shipped(own(looked_at=True), embedder, _SHOWN[:1]),
        "own, written afterwards": _shipped(own(looked_at=False), embedder, _SHOWN[:1]),
        "quora": _shipped(qqp(13_000, 13_000 + options.quora), embedder, _SHOWN),
        "cost": _cost(),
    }
    _print(found)
    if options.output:
        about = provenance(
            "onnxruntime", folders=("fairstow/semantic_cache", "benchmarks/cache_safety")
        )
        options.output.write_text(
            json.dumps({"provenance": about, "result": found}, indent=1) + "\n"
        )
    ours, bounds = found["fow"]["verifier"], yaml.safe_load(_BOUNDS.read_text())["cache_safety"]
    missed = []
    if ours["wrong"] > bounds["fow_wrong"]["at_most"]:
        missed.append(f"{ours['wrong']:.3f} of the traps are served")
    if ours["served"] < bounds["fow_served"]["at_least"]:
        missed.append(f"only {ours['served']:.3f} of the hits that were due are served")
    return verdict(missed)


def _fow(embedder: Embedder) -> dict[str, Any]:
    pairs = fow()
    cosines = similarities(pairs, embedder)
    same = np.array([pair.same_answer for pair in pairs])
    rows, read = table(pairs, cosines)
    quiet = np.array([not judge(pair.a, pair.b).objections for pair in pairs])
    equal = quiet & ~read
    draws: dict[str, list[Mask]] = {"cosine": [], "guard": [], "verifier": []}
    for seed in range(5):
        served = {name: np.zeros(len(pairs), bool) for name in draws}
        fold = folds(pairs, 10, seed)
        for held in range(10):
            known, asked = fold != held, fold == held
            bias, weights = fit(rows[known & read], same[known & read])
            sure = equal | (read & (rows @ weights + bias >= np.log(ACCEPT / (1 - ACCEPT))))
            for name, passes in (("cosine", same | True), ("guard", quiet), ("verifier", sure)):
                at = _threshold(cosines[known], same[known], passes[known])
                served[name][asked] = (passes & (cosines * 1_000 >= at))[asked]
        for name, mask in served.items():
            draws[name].append(mask)
    return {name: _figures(masks, same) for name, masks in draws.items()}


def _threshold(cosines: Numbers, same: Mask, passes: Mask) -> int:
    """Return the threshold that serves most of these with at most `WRONG` of their traps."""
    kept = [
        at for at in GRID if (passes & (cosines * 1_000 >= at))[~same].mean() <= WRONG
    ]  # fmt: skip
    return max(kept, key=lambda at: ((passes & (cosines * 1_000 >= at))[same].mean(), at))


def _figures(masks: Sequence[Mask], same: Mask) -> dict[str, float]:
    """Return means over the draws, and the bound of the worst."""
    wrong = [int(mask[~same].sum()) for mask in masks]
    hits = [int(mask.sum()) for mask in masks]
    return {
        "served": float(np.mean([mask[same].mean() for mask in masks])),
        "wrong": float(np.mean(wrong) / (~same).sum()),
        "wrong_upper": upper(max(wrong), int((~same).sum()), 0.95),
        "wrong_per_hit": float(np.sum(wrong) / max(1, np.sum(hits))),
    }


def _shipped(
    pairs: Sequence[Pair], embedder: Embedder, thresholds: Sequence[int]
) -> dict[str, Any]:
    """Return what the weights and rules that ship do, as they are."""
    cosines = similarities(pairs, embedder)
    same = np.array([pair.same_answer for pair in pairs])
    sure = np.array(
        [compare(pair.a, pair.b, float(at)).same for pair, at in zip(pairs, cosines, strict=True)]
    )
    return {
        str(at): {
            "cosine": _figures([cosines * 1_000 >= at], same),
            "verifier": _figures([sure & (cosines * 1_000 >= at)], same),
        }
        for at in thresholds
    }


def _cost() -> dict[str, float]:
    """Return microseconds for a pair, as the cache asks: the stored question was read before."""
    pairs = fow()
    english = judge("How is it?", "Is it how?")
    assert english.a is not None

    def run(ask: Callable[[Pair], object]) -> float:
        begun = time.process_time()
        for pair in pairs:
            ask(pair)
        return (time.process_time() - begun) / len(pairs) * 1e6

    first = run(lambda pair: judge(pair.a, pair.b))
    return {
        "first_us": first,
        "guard_us": run(lambda pair: judge(pair.a, pair.b)),
        "guard_and_verifier_us": run(lambda pair: compare(pair.a, pair.b, 0.9)),
    }


def _print(found: dict[str, Any]) -> None:
    say = sys.stdout.write
    say("fow, held-out topics      served   wrong  at most  wrong/hits\n")
    for name, row in found["fow"].items():
        say(f"{name:24}{_row(row)}\n")
    for source in [name for name in found if name not in ("fow", "cost")]:
        for at, both in found[source].items():
            for name, row in both.items():
                say(f"{f'{source} {at} {name}':50}{_row(row)}\n")
    say(", ".join(f"{name} {value:.0f}" for name, value in found["cost"].items()) + "\n")


def _row(row: dict[str, float]) -> str:
    names = ("served", "wrong", "wrong_upper", "wrong_per_hit")
    return "".join(f"{100 * row[name]:7.1f} %" for name in names)


if __name__ == "__main__":
    sys.exit(main())
