"""The extender's second port: besides health and metrics, the reservations it keeps.

Run by `service.py` in the same event loop, far from the scheduler's calls.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import FastAPI

from fairstow.cluster.quantity import render
from fairstow.kube import admin
from fairstow.kube.review import Reviewer
from fairstow.packing.reservations import arrived
from scheduler_plugins import metrics
from scheduler_plugins.index import Index


def application(
    index: Index,
    reviewer: Reviewer,
    *,
    unready: Callable[[], str],
    measure: Callable[[], None],
) -> FastAPI:
    """Return the application; `unready` says why we aren't ready, `measure` sets the gauges."""
    app = admin.application(
        "Fairstow scheduler extender",
        reviewer,
        metrics.REGISTRY,
        unready=unready,
        measure=measure,
    )

    @app.get("/reservations")
    async def reservations() -> dict[str, Any]:
        return _reservations(index)

    return app


def _reservations(index: Index) -> dict[str, Any]:
    """Return what is kept now, plan by plan."""
    plans = []
    for plan in index.reservations.plans:
        filled, _ = arrived(plan, index.assumed)
        holds = [
            {
                "node": hold.node,
                "for": hold.beneficiary,
                "requests": {name: render(name, amount) for name, amount in hold.requests},
                "step": hold.step,
                "filled": hold in filled,
            }
            for hold in plan.holds
        ]
        plans.append(
            {
                "kind": plan.kind,
                "name": plan.name,
                "uid": plan.plan,
                "step": plan.step,
                "holds": holds,
            }
        )
    return {"operatorAlive": index.operator.alive, "plans": plans}
