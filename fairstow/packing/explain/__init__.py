"""Why a pod waits, what would let it run, and what a plan does about it.

Who calls it: the command line (`fairstow explain`), the report, later the controllers' events.
Pure: a snapshot and, where there is one, the planner's decision go in; sentences as data come out.
"""

from fairstow.packing.explain.explain import explain, explain_all
from fairstow.packing.explain.model import (
    Change,
    Explanation,
    FunnelLine,
    Near,
    PlanFix,
    Relaxation,
    State,
)
from fairstow.packing.explain.remedy import needed

__all__ = [
    "Change",
    "Explanation",
    "FunnelLine",
    "Near",
    "PlanFix",
    "Relaxation",
    "State",
    "explain",
    "explain_all",
    "needed",
]
