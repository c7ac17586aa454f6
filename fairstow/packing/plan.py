"""A decision as a PackingPlan, the object people read, check, approve and carry out."""

from collections.abc import Mapping
from hashlib import blake2b

import msgspec

from fairstow.api import OWNER_TEXT, PLAN_MAX_ENTRIES, PackingPlan
from fairstow.cluster.model import Pod
from fairstow.cluster.quantity import exact
from fairstow.cluster.times import duration, written
from fairstow.packing.model import Decision


def to_plan(decision: Decision, name: str = "") -> PackingPlan:
    """Return the plan of a decision.

    Args:
        decision: from `planner.decide`.
        name: metadata.name; by default made from the content, so equal plans have equal names.
    """
    request = decision.request
    spec = {
        **({"pool": request.scope.name} if request.scope else {}),
        "snapshotHash": request.snapshot.hash,
        "rules": request.rules.value,
        "goal": request.goal.value,
        "order": request.order.value,
        "seed": request.seed,
        "window": duration(request.window),
        **({} if request.effort is None else {"effort": request.effort}),
        "cost": decision.cost,
        **_moment(decision),
        "budgets": "Known" if decision.budgets_known else "Unknown",
        "tiers": [
            {
                "priority": t.priority,
                "placedBefore": t.before,
                "placedAfter": t.after,
                "pending": t.pending,
                "bound": t.bound,
                "proof": t.proof.value,
                "gapPods": t.gap,
            }
            for t in decision.tiers
        ],
        "blocks": [
            {
                "resource": b.resource,
                "size": b.size,
                "before": b.before,
                "after": b.after,
                "bound": b.bound,
                "proof": b.proof.value,
                "gapBlocks": b.gap,
            }
            for b in decision.blocks
        ],
        "placements": [_pod(p.pod) | {"node": p.node} | _arriving(p.pod)
                       for p in decision.placements],
        "moves": [_pod(m.pod) | {"from": m.source, "to": m.target} | _arriving(m.pod)
                  for m in decision.moves],
        "evictions": [_pod(e.pod) | {"from": e.source, "owner": _owner(e.pod)}
                      for e in decision.evictions],
        "steps": [
            {
                "evict": [_pod(p) for p in step.evict],
                "bind": [_pod(p) | {"node": node} for p, node in step.bind],
            }
            for step in decision.steps
        ],
        "notConsidered": [s[:1024] for s in decision.not_considered][:PLAN_MAX_ENTRIES],
    }  # fmt: skip
    return PackingPlan.model_validate(
        {
            "apiVersion": "fairstow.dev/v1alpha1",
            "kind": "PackingPlan",
            "metadata": {"name": name or f"plan-{_digest(spec)}"},
            "spec": spec,
        }
    )


def _digest(spec: Mapping[str, object]) -> str:
    return blake2b(msgspec.json.encode(spec), digest_size=4).hexdigest()


def _moment(decision: Decision) -> dict[str, str]:
    """Return what ages are judged by, as far as there is anything."""
    request = decision.request
    taken_at = request.snapshot.taken_at
    found = {} if taken_at is None else {"takenAt": written(taken_at)}
    return found | ({"minimumAge": duration(request.min_age)} if request.min_age else {})


def _pod(pod: Pod) -> dict[str, str]:
    return {"namespace": pod.namespace, "name": pod.name, "uid": pod.uid}


def _arriving(pod: Pod) -> dict[str, object]:
    """Return whose pod it is and the room that has to be kept for it."""
    return {"owner": _owner(pod), "requests": {r: exact(r, n) for r, n in pod.shape.requests}}


def _owner(pod: Pod) -> str:
    """Return the owner, or nothing where it isn't named as Kubernetes names things.

    The API server lets any text pass in an owner reference.
    """
    owner = str(pod.owner) if pod.owner else ""
    return owner if OWNER_TEXT.fullmatch(owner) else ""
