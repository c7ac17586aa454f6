"""Learns what a GPU with some room left ends up leaving unused: `Rehearsed.remainder`.

A rehearsal plays the protocol on a seed of its own and notes, for each amount of free milli-GPU
that any GPU ever had, how much of it was still free in the end. The mean is what the policy
expects of such a GPU. Since the policy changes what happens, it is played again with the new
table and the two are mixed, round after round; the first round plays FGD.

Rehearsal seeds are apart from those whose results are reported.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from benchmarks.fragmentation.measure import Measure
from benchmarks.fragmentation.policies import Gradient, Policy, Rehearsed
from benchmarks.fragmentation.simulate import Cluster, remainders
from benchmarks.fragmentation.trace import GPU, Workload, arrivals

if TYPE_CHECKING:
    from benchmarks.fragmentation.state import Floats

SEEDS = range(1000, 1032)
ROUNDS = 8
MIX = 0.3


def rehearse(workload: Workload, rounds: int = ROUNDS) -> Rehearsed:
    """Return the policy after some rounds of four seeds each."""
    rest = Measure.of(workload, free_shares=False)
    policy: Policy = Gradient(Measure.of(workload))
    table: Floats | None = None
    per_round = len(SEEDS) // ROUNDS
    for turn in range(rounds):
        total, visits = np.zeros(101), np.zeros(101)
        for seed in SEEDS[turn * per_round : (turn + 1) * per_round]:
            came = arrivals(workload, seed)
            left, times, _ = remainders(workload, came, Cluster(workload, came.nodes, policy))
            total, visits = total + left, visits + times
        mean = _mean(total, visits)
        table = mean if table is None else (1 - MIX) * table + MIX * mean
        policy = Rehearsed(rest, table)
    assert isinstance(policy, Rehearsed)
    return policy


def _mean(total: Floats, visits: Floats) -> Floats:
    """Return the mean per amount; one never seen counts as an untouched GPU, or all of it if less.

    Nothing is known of such an amount, so it is neither sought nor avoided.
    """
    untouched = total[-1] / visits[-1]
    unseen = np.minimum(np.arange(101) * GPU / 100, untouched)
    return np.where(visits > 0, total / np.maximum(visits, 1), unseen)
