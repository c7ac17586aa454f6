"""Requests as they come: drawn by the protocol of Llumnix, or from a trace's lines.

Called by the command line and by benchmarks; whoever calls reads the files.

Lengths (Llumnix, OSDI'24, artifact): ranks 1 … 2m − 1 with probability ∝ rank^−α, first all
prompts, then all outputs from the same stream, scaled to the mean m with ceil, at most 6,144.
Arrivals: Poisson, or Gamma with a coefficient of variation for bursts.
"""

import math
from collections.abc import Hashable, Sequence

import msgspec
import numpy as np

from fairstow.serving.model import Kind

ALPHAS = {128: 2.0, 256: 1.5, 512: 1.15, 1024: 1.0005}
"""Skew of the lengths by mean."""

MEANS = {"S": 128, "M": 256, "L": 512}
LONGEST = 6_144
HASHED = 512
"""Tokens that one of a trace's hashes stands for."""

LENGTHS_SEED = 0xCADE


class Arrival(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One request of a workload.

    Attributes:
        at: seconds from the beginning.
        prompt: tokens.
        output: tokens until it ends by itself; only the simulator knows.
        hashes: of the prompt's leading runs of 512 tokens, each with all before it.
        deadline: seconds from its arrival.
        pace: longest time between tokens, of the latency kind.
    """

    at: float
    prompt: int
    output: int
    priority: int = 0
    hashes: tuple[int, ...] = ()
    kind: Kind = Kind.LATENCY
    deadline: float = math.inf
    pace: float = math.inf

    def keys(self, block: int) -> tuple[Hashable, ...]:
        """Name the prompt's full blocks of so many tokens, as far as their hashes are known."""
        full = min(self.prompt, len(self.hashes) * HASHED) // block
        return tuple((self.hashes[i * block // HASHED], i) for i in range(full))


def lengths(names: str, count: int, *, seed: int = LENGTHS_SEED) -> list[tuple[int, int]]:
    """Draw prompts and outputs for a name such as "M-M" or "256-512".

    Raises ValueError if it is none.
    """
    means = [_mean(name) for name in names.upper().split("-")]
    if len(means) != 2:
        raise ValueError(f"{names!r}: two lengths such as M-M, S-L or 128-512 are meant")
    generator = np.random.default_rng(seed)
    prompts, outputs = (_power_law(generator, mean, count) for mean in means)
    return list(zip(prompts, outputs, strict=True))


def _mean(name: str) -> int:
    mean = MEANS.get(name) or (int(name) if name.isdecimal() else 0)
    if mean not in ALPHAS:
        known = ", ".join([*MEANS, *map(str, ALPHAS)])
        raise ValueError(f"{name!r} is no length; known are {known}")
    return mean


def _power_law(generator: np.random.Generator, mean: int, count: int) -> list[int]:
    ranks = np.arange(1, 2 * mean)
    weights = ranks ** -ALPHAS[mean]
    drawn = generator.choice(ranks, size=count, p=weights / weights.sum())
    scaled = np.ceil(drawn * (mean / drawn.mean()))
    return [int(n) for n in np.minimum(scaled, LONGEST)]


def times(count: int, rate: float, *, seed: int, cv: float = 1.0) -> list[float]:
    """Draw arrival times of so many requests at a mean rate per second."""
    generator = np.random.default_rng(seed)
    shape = 1 / cv**2
    gaps = generator.gamma(shape, 1 / (rate * shape), size=count)
    return [float(at) for at in np.cumsum(gaps)]


def drawn(
    names: str, count: int, rate: float, *, seed: int, cv: float = 1.0, lengths_seed: int
) -> list[Arrival]:
    """Draw a whole workload."""
    pairs = lengths(names, count, seed=lengths_seed)
    return [
        Arrival(at=at, prompt=prompt, output=output)
        for at, (prompt, output) in zip(times(count, rate, seed=seed, cv=cv), pairs, strict=True)
    ]


def urgent(arrivals: Sequence[Arrival], share: float, *, seed: int) -> list[Arrival]:
    """Let a share of the requests, drawn at random, be of priority −1."""
    chosen = np.random.default_rng(seed).random(len(arrivals)) < share
    return [
        msgspec.structs.replace(a, priority=-1) if c else a
        for a, c in zip(arrivals, chosen, strict=True)
    ]


def split(arrivals: Sequence[Arrival], fit: int) -> tuple[list[Arrival], int]:
    """Return the requests that fit an engine of so many tokens, and how many don't."""
    able = [a for a in arrivals if a.prompt + a.output <= fit]
    return able, len(arrivals) - len(able)
