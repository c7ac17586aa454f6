"""The independent checker of packing plans: replays a plan's steps and refuses what isn't legal.

It exists so that nobody has to trust the planner, and so it shares no code with it: it reads the
raw Kubernetes objects and the plan as JSON itself, and prefers the slow and plain way everywhere.
Called by `fairstow plan --check`, by tests, and before a plan is handed out.
"""

from fairstow.packing.checker.check import check
from fairstow.packing.checker.fields import CheckError
from fairstow.packing.checker.verdict import Rule, TierCount, Verdict, Violation

__all__ = ["CheckError", "Rule", "TierCount", "Verdict", "Violation", "check"]
