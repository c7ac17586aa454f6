"""The least that any placement can leave unallocated under the protocol, from a linear program.

As long as an untouched GPU is free, every shared pod fits on it too. So when arrivals have
reached the point θ where the last pod of a whole GPU got one, all shared pods until then had a
place, also those that leave an unusable rest (a share of 810 leaves 190, and few pods ask for so
little). After θ only shared pods can be added, at most as many as arrive in all. With a_d the
arrivals of share d by 100 % of capacity, w_1 and w_m those of one and of several whole GPUs (in
GPUs), G the GPUs and y_P how many are cut by pattern P (shares that fit together on one GPU):

    maximise  θ w_1 + m + Σ_d d x_d    subject to   θ w_1 + m + Σ_P y_P ≤ G,   m ≤ θ w_m,
              Σ_P P_d y_P ≥ x_d   and   θ a_d ≤ x_d ≤ 1.3 a_d   for every share d.

It is a bound in the limit of many pods (a seed's draw may differ by its luck), without CPU,
memory and node limits, and for policies that never move a pod and never keep one out that fits.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from ortools.linear_solver import pywraplp  # type: ignore[import-untyped]

from benchmarks.fragmentation.trace import GPU, INFLATION, Workload

if TYPE_CHECKING:
    from collections.abc import Iterator


def floor(workload: Workload) -> float:
    """Return the least unallocated GPU in % at arrivals of 130 %."""
    scale = workload.capacity / sum(pod.milli for pod in workload.pods)
    shares = Counter(pod.share for pod in workload.pods if pod.shared)
    sizes = sorted(shares, reverse=True)
    one = scale * sum(pod.gpus == 1 and not pod.shared for pod in workload.pods)
    more = scale * sum(pod.gpus for pod in workload.pods if pod.gpus > 1)
    gpus = workload.capacity / GPU
    lp = pywraplp.Solver.CreateSolver("GLOP")
    theta, many = lp.NumVar(0, INFLATION, "theta"), lp.NumVar(0, lp.infinity(), "more")
    cut = [(pattern, lp.NumVar(0, lp.infinity(), "")) for pattern in patterns(sizes, GPU)]
    lp.Add(theta * one + many + lp.Sum([y for _, y in cut]) <= gpus)
    lp.Add(many <= theta * more)
    used = theta * one + many
    for i, size in enumerate(sizes):
        come = scale * shares[size]
        x = lp.NumVar(0, INFLATION * come, "")
        lp.Add(x >= theta * come)
        lp.Add(lp.Sum([pattern[i] * y for pattern, y in cut if pattern[i]]) >= x)
        used += x * (size / GPU)
    lp.Maximize(used)
    if lp.Solve() != pywraplp.Solver.OPTIMAL:
        raise ArithmeticError(f"the floor of {workload.name} has no optimum")
    return 100 * (1 - float(lp.Objective().Value()) / gpus)


def patterns(sizes: list[int], room: int) -> Iterator[tuple[int, ...]]:
    """Yield how many of each size (falling) fit together such that no further one does."""
    if not sizes:
        yield ()
        return
    size, rest = sizes[0], sizes[1:]
    for count in range(room // size, -1, -1):
        left = room - count * size
        for tail in patterns(rest, left):
            used = sum(n * s for n, s in zip(tail, rest, strict=True))
            if left - used < size or count == room // size:
                yield (count, *tail)
