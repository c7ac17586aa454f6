"""The page's last section: one command, what to look at before it, how to stop it recurring."""

import shlex

from fairstow.api import PackingPlan
from fairstow.cluster.pools import is_accelerator
from fairstow.packing.model import Decision
from fairstow.report.markup import bullets, count, esc


def advice(decision: Decision, plan: PackingPlan, source: str) -> str:
    """Return what to run, what to check before, and what helps for good."""
    file = shlex.quote(f"{plan.metadata.name}.yaml")
    given = f" {source}" if source else ""
    if decision.steps:
        command = f"fairstow plan{given} -o yaml > {file}\nfairstow plan{given} --check {file}"
        said = (
            "Write the plan out and have it checked step by step by code that shares nothing with "
            "the planner:"
        )
    else:
        command, said = f"fairstow plan{given}", "When the cluster has changed, ask again:"
    return (
        f"<h3>Next</h3><p>{said}</p><pre><code>{esc(command)}</code></pre>"
        + (f"<h3>Before you do</h3>{bullets(_before(decision))}" if decision.steps else "")
        + f"<h3>How to stop it happening again</h3>{bullets(_for_good(decision))}"
    )


def _before(decision: Decision) -> list[str]:
    said = [
        "Take a fresh dump if minutes have passed: a plan is for the cluster as it was.",
    ]
    if not decision.budgets_known:
        said.insert(
            0,
            "<strong>Disruption budgets are unknown</strong>: the input held no "
            "PodDisruptionBudgets, so this plan can't be approved. Fetch them with the rest.",
        )
    owners: dict[str, int] = {}
    for pod in (*(m.pod for m in decision.moves), *(e.pod for e in decision.evictions)):
        owner = f"{pod.namespace}/{pod.owner.name}" if pod.owner else pod.ref
        owners[owner] = owners.get(owner, 0) + 1
    if owners:
        top = sorted(owners.items(), key=lambda o: (-o[1], o[0]))
        named = ", ".join(f"{esc(name)} ({n})" for name, n in top[:6])
        more = f" and {count(len(top) - 6, 'more workload')}" if len(top) > 6 else ""
        said.append(
            "A moved pod is stopped and recreated: what it hasn't saved is lost. Ask the owners "
            f"of {named}{more}."
        )
        said.append(
            "To keep a pod where it is, annotate it "
            '<code>fairstow.dev/do-not-disrupt: "true"</code> and plan again.'
        )
    return said


def _for_good(decision: Decision) -> list[str]:
    said = []
    asked = [
        (n, r)
        for p in decision.request.snapshot.pending
        for r, n in p.shape.requests
        if is_accelerator(r)
    ]
    if asked:
        most, resource = max(asked)
        said.append(
            f"Pods that ask for up to {most:,} {esc(resource)} wait beside smaller holes. Let "
            "small pods fill nodes that are partly used: in the scheduler's configuration, "
            "<code>NodeResourcesFit</code> with <code>scoringStrategy: MostAllocated</code> and a "
            f"weight on {esc(resource)}; the default spreads them."
        )
    fixed = "Workloads that may restart can say so: "
    said.append(
        fixed + 'annotate pods <code>fairstow.dev/movable: "true"</code>, and let Jobs ignore '
        "<code>DisruptionTarget</code> in their podFailurePolicy. The more may move, the more fits."
    )
    if any(t.pending for t in decision.tiers):
        said.append(
            "Where the table of priorities proves that no plan runs more, only other requests, "
            "evictions or more nodes help: the waiting pods' own lines above say which."
        )
    return said
