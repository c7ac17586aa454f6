"""What is compared: a policy, and what it knows of the instances.

The published systems dispatch and migrate by what instances last reported. How often they do isn't
published; one second is what the published prefill latencies ask for where nothing else delays
them: L-S at 10/s, a third of the memory in use, where the mean prefill takes 0.73 s (INFaaS++) and
0.63 s (Llumnix), of which the prompts' computation is 0.15 s. Here it takes 0.73 s and 0.71 s:
requests that come between two reports go to the same instance. This cell isn't among those
compared; docs/benchmarks/serving.md says what else was looked at. Our gateway counts what it sends:
nothing is late.
"""

from __future__ import annotations

from dataclasses import dataclass

REPORTS = 1.0
"""Seconds."""


@dataclass(frozen=True)
class System:
    """One. Attributes: reports: as in `Setup`; published: its name in the published points."""

    policy: str
    reports: float | None = None
    published: str = ""


SYSTEMS = {
    "round-robin": System("round-robin", REPORTS, "Round-Robin"),
    "load-aware": System("load-aware", REPORTS, "INFaaS++"),
    "llumnix": System("llumnix", REPORTS, "Llumnix"),
    "llumnix, ledger": System("llumnix"),
    "virtual-usage": System("virtual-usage"),
}
"""By the names in results; what isn't published knows what it has sent."""
