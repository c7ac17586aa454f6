"""Puts an explanation together."""

from fairstow.cluster.model import Pod
from fairstow.cluster.snapshot import Snapshot
from fairstow.packing.explain.model import Explanation, State
from fairstow.packing.model import Decision


def explain(
    snapshot: Snapshot, pod: Pod, decision: Decision | None, *, source: str = ""
) -> Explanation:
    """Explain why a pod is where it is.

    Args:
        snapshot: the cluster.
        pod: one of its pods.
        decision: the planner's answer on this snapshot, if there is one.
        source: arguments that make a command read the same input, such as `-f dump.json`.
    """
    _ = (snapshot, decision, source)
    return Explanation(pod, State.BLOCKED, "", "", (), (), (), None, (), "", "")
