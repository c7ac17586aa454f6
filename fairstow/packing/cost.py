"""What it costs to disturb a running pod: its base cost and the work it would lose.

Called by `formulate`, which turns it into the problem's integers, and by the planner for the cost
of a whole plan. One unit is what a restart costs: being evicted, pulled, started and warmed up. A
move costs that once. Where a pod keeps in memory what it has computed, a restart also loses that,
and a GPU-hour computed for nothing is taken to weigh as much as a restart. So, with h the hours
since the pod started or last declared a checkpoint,

    work(pod) = 0, 1, 2, 4, … or 64:  the largest that is at most GPUs · h
    a move costs 1 + work(pod)        an eviction for good costs 100 + work(pod)

Powers of two, since the unit is a convention and nothing finer than a factor of two is meant by
it: pods of one group and node then fall into at most eight classes (`problem`), and a plan's cost
doesn't change from minute to minute. At most 64, so that an eviction for good (≥ 100) stays dearer
than any move (≤ 65). Work adds up over pods and trades against their number: one pod that would
lose 8 stays put if eight that lose nothing can move instead, not if it takes ten.

Who loses work. Pods of ReplicaSets serve: each request is done in seconds, and what a restart
costs is in the base. All others that may be moved at all (StatefulSets, Jobs that tolerate
disruption, pods annotated as movable) are taken to lose everything since they started, unless they
say otherwise, on themselves or in their template:

    fairstow.dev/work-lost: "none"                        nothing is lost beyond the restart
    fairstow.dev/checkpointed-at: "2026-03-01T12:00:00Z"  all since then is lost (of any owner)

The second is written by the job itself whenever it saves. A text that is no RFC 3339 time says
nothing, and a pod that doesn't say since when it runs is taken to lose the most. CPUs don't
count: GPUs are what is scarce, and what nobody can start again elsewhere at once.

**LLM engines** (`fairstow.cluster.engines`) lose no requests: those are handed over before the pod
goes. What it costs is memory for them elsewhere. While the other instances of its pool have that
(ServingPool's status.spareInstances is at least 1), moving an engine costs no more than its
restart, whoever owns it and however long it has run; while they don't, requests would wait, and it
counts as the most work.

Under the paper's rules no work is counted.
"""

from collections.abc import Sequence

from fairstow.cluster.model import Pod
from fairstow.cluster.pools import is_accelerator
from fairstow.cluster.snapshot import Snapshot
from fairstow.cluster.times import seconds
from fairstow.packing.model import RuleSet

WORK_LOST = "fairstow.dev/work-lost"
CHECKPOINTED_AT = "fairstow.dev/checkpointed-at"

MOST_WORK = 64
"""Units; the most that a pod's work is taken to be worth."""


def work_lost(pod: Pod, snapshot: Snapshot) -> int:
    """Return the work, in units, that a pod with a node loses when it is taken down."""
    if snapshot.engines.pools(pod):
        return 0 if snapshot.engines.spare(pod) else MOST_WORK
    taken_at = snapshot.taken_at
    gpus = sum(amount for name, amount in pod.shape.requests if is_accelerator(name))
    annotations = dict(pod.annotations)
    saved = seconds(annotations.get(CHECKPOINTED_AT, ""))
    serves = pod.owner is not None and (pod.owner.group, pod.owner.kind) == ("apps", "ReplicaSet")
    if not gpus or annotations.get(WORK_LOST) == "none" or (serves and saved is None):
        return 0
    since = max((moment for moment in (pod.started, saved) if moment is not None), default=None)
    if since is None or taken_at is None:
        return MOST_WORK
    return quantised(gpus * max(0, taken_at - since) // 3600)


def quantised(gpu_hours: int) -> int:
    """Return the largest power of two that is at most so many GPU-hours; 0 for less than one."""
    return min(MOST_WORK, 1 << (gpu_hours.bit_length() - 1)) if gpu_hours else 0


def cost(moved: Sequence[Pod], evicted: Sequence[Pod], rules: RuleSet, snapshot: Snapshot) -> int:
    """Return what moving some pods and evicting others for good costs, in units."""
    units = rules.move_cost * len(moved) + rules.eviction_cost * len(evicted)
    if rules is RuleSet.PAPER:
        return units
    return units + sum(work_lost(pod, snapshot) for pod in (*moved, *evicted))
