"""The error budget over many seeds: is it kept with its confidence, and how soon is drift seen?

    python -m benchmarks.cache_budget [--seeds 1000] [-o RESULT]

Streams where similarity lies: whether a hit is wrong doesn't depend on how similar it is. In each a
stream of labelled hits is i.i.d. with one rate of wrong ones; a seed counts as a breach if at any
moment a threshold is open although its rate is over the budget. Under drift the rate is a quarter
of the budget for `BEFORE` labels and rises at once: counted are the labels until every threshold is
closed, and the wrong hits among those served until then (one label in `ONE_IN` served hits).
Exits with 1 where `benchmarks/bounds.yaml` isn't kept.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from pathlib import Path
from typing import Any

import yaml

from benchmarks.closing import verdict
from benchmarks.provenance import provenance
from fairstow.semantic_cache.bounds import upper
from fairstow.semantic_cache.error_budget import (
    Budget,
    Evidence,
    label,
    least_threshold,
)

LABELS = 1_000
BEFORE = 1_000
ONE_IN = 20
_BOUNDS = Path(__file__).parents[1] / "bounds.yaml"


def main() -> int:
    """Run the benchmark; 0 if the bounds hold."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=1_000)
    parser.add_argument("-o", "--output", type=Path, help="write the result as JSON")
    options = parser.parse_args()
    budget = Budget()
    found: dict[str, Any] = {"seeds": options.seeds, "labels": LABELS}
    for factor in (1.05, 1.5, 0.5, 0.1):
        opened = [_opened(budget, factor * budget.share, seed) for seed in range(options.seeds)]
        known = sorted(at for at in opened if at is not None)
        found[f"rate {factor:g} x budget"] = {
            "opened": len(known) / options.seeds,
            "opened_upper": upper(len(known), options.seeds, 0.95),
            "median_labels": known[len(known) // 2] if known else None,
        }
    for rate in (0.05, 0.1, 0.2):
        delays = [_delay(budget, rate, seed) for seed in range(options.seeds // 10)]
        seen = sorted(at for at in delays if at is not None)
        found[f"drift to {rate:g}"] = {
            "open_before": len(seen) / len(delays),
            "median_delay": seen[len(seen) // 2] if seen else None,
            "p90_delay": seen[int(0.9 * len(seen))] if seen else None,
            "wrong_hits_until_then": rate * ONE_IN * sum(seen) / len(seen) if seen else None,
        }
    print(json.dumps(found, indent=1))
    if options.output:
        about = provenance(folders=("fairstow/semantic_cache", "benchmarks/cache_budget"))
        options.output.write_text(
            json.dumps({"provenance": about, "result": found}, indent=1) + "\n"
        )
    most = yaml.safe_load(_BOUNDS.read_text())["cache_budget"]["breached"]["at_most"]
    breached = found["rate 1.05 x budget"]["opened"]
    return verdict([f"{breached} of the seeds breach the budget"] if breached > most else [])


def _opened(budget: Budget, rate: float, seed: int) -> int | None:
    """Return after how many labels a threshold is open, None if none ever is."""
    chance, evidence = random.Random(seed), Evidence.none(budget)
    for count in range(1, LABELS + 1):
        similarity = chance.uniform(budget.grid[0], 1.0)
        evidence = label(evidence, budget, similarity, chance.random() < rate)
        if least_threshold(evidence, budget) is not None:
            return count
    return None


def _delay(budget: Budget, rate: float, seed: int) -> int | None:
    """Return how many labels after a rise all is closed, None if nothing was open before it."""
    chance, evidence = random.Random(seed), Evidence.none(budget)
    for _ in range(BEFORE):
        similarity = chance.uniform(budget.grid[0], 1.0)
        evidence = label(evidence, budget, similarity, chance.random() < budget.share / 4)
    if least_threshold(evidence, budget) is None:
        return None
    count = 0
    while least_threshold(evidence, budget) is not None and count < 100 * LABELS:
        similarity = chance.uniform(budget.grid[0], 1.0)
        evidence = label(evidence, budget, similarity, chance.random() < rate)
        count += 1
    return count


if __name__ == "__main__":
    sys.exit(main())
