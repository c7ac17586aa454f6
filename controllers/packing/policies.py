"""Looks for better placements as PackingPolicies say, and makes PackingPlans of them.

Run by `controllers.runtime` under the operator's Lease. Plans that are approved are carried out by
`controllers.packing.plans`; this controller only makes them, and deletes old ones. It is the only
one that writes the status of policies.
"""

import asyncio
import logging
import time
from collections.abc import Mapping

from controllers import metrics
from controllers.pace import Pace
from controllers.packing.parts import Parts
from fairstow.api import PackingPlan, PackingPolicy, PackingPolicyStatus, Reason
from fairstow.cluster.kinds import Kind
from fairstow.kube.aio.paths import path_of
from fairstow.kube.problems import ApiError
from fairstow.packing.announce import PodRef, left_alone, would_run
from fairstow.packing.history import ended_at
from fairstow.packing.model import Decision, Request
from fairstow.packing.planner import decide
from fairstow.packing.policy.enforcement import unenforced
from fairstow.packing.policy.overlap import overlaps
from fairstow.packing.policy.pool_status import PoolView, survey
from fairstow.packing.policy.report import (
    Outcome,
    adopted,
    early,
    plan_object,
    policy_status,
    same,
)
from fairstow.packing.policy.retention import deletable
from fairstow.packing.policy.run import Case, Found, Question, Skip, answer, ask, confirm, held
from fairstow.packing.policy.standing import Standing
from fairstow.packing.policy.triggers import Due, due
from fairstow.packing.worker import SolverError

logger = logging.getLogger(__name__)

MANAGER = "fairstow-policies"
PLANS = path_of("fairstow.dev/v1alpha1", "PackingPlan")
_LOOP = "policies"
_LEAST = 1.0
"""Seconds between turns."""

_REFUSED = frozenset({400, 403, 413, 422})
_TOLD = 20
"""Waiting pods that are told what came of a run, at most."""


class PolicyLoop:
    """See the module."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._pace = Pace(parts, _LEAST)
        self._written: dict[str, PackingPolicyStatus] = {}
        self._tried: dict[str, frozenset[str]] = {}
        parts.cluster.listeners.append(self._changed)
        parts.objects.listeners.append(lambda _kind, _name: self._pace.wake())

    async def run(self) -> None:
        """Take turns until cancelled."""
        await self._pace.run(_LOOP, self.turn)

    async def turn(self) -> int | None:
        """Look after every policy once; return when one is due if nothing changes."""
        parts = self._parts
        # 1. What nobody needs any more goes, and what a predecessor left is taken up.
        await self._tidy()
        policies = [self._known(policy) for policy in parts.objects.policies]
        if not policies:
            return None
        # 2. The cluster as it is, the policies' pools in it, and who may act.
        with self._pace.work():
            views = self._views()
            standings = self._standings(policies, views)
        # 3. Say so before anything that takes long.
        for policy in policies:
            taken_up = adopted(policy, self._own(policy))
            await self._report(policy, standings[policy.metadata.name], taken_up)
        # 4. Look for plans where a run is due.
        moments = []
        for policy in map(self._known, policies):
            standing = standings[policy.metadata.name]
            view = views.get(policy.spec.pool_ref.name)
            if view is None or not standing.may_act(policy):
                continue
            ends = [at for plan in self._own(policy) if (at := ended_at(plan)) is not None]
            tried = self._tried.get(policy.metadata.uid or "")
            is_due = due(policy, view.waiting.hopeful, parts.now, max(ends, default=None), tried)
            moments.append(is_due.next_at)
            if is_due.causes:
                moments.append(await self._run(policy, standing, is_due))
        return min((moment for moment in moments if moment is not None), default=None)

    async def _run(self, policy: PackingPolicy, standing: Standing, is_due: Due) -> int | None:
        """Look for a plan once; return when to look again, if that is known."""
        began, name = time.monotonic(), policy.metadata.name
        # 1. What the planner is to be asked, of the cluster as it is now.
        view = self._views().get(policy.spec.pool_ref.name)
        if view is None:
            return None
        case = self._case(policy, view)
        asked = ask(case)
        if isinstance(asked, Skip):
            if outcome := early(is_due, asked):
                await self._finish(policy, standing, outcome)
            return asked.retry_at
        # 2. Its answer; narrower questions where one namespace would get too much.
        verdict: Found | Skip | Question = asked
        try:
            while isinstance(verdict, Question):
                decision = await self._decide(name, verdict.request)
                verdict = answer(case, verdict, decision)
        except SolverError as error:
            logger.error("policy %s: %s", name, error)
            verdict = Skip(Reason.SOLVER_FAILED, Reason.SOLVER_FAILED.sentence)
        # 3. Whether it holds in cluster and policy as they are by now; if not, that was no run.
        if isinstance(verdict, Found):
            gone = confirm(verdict, self._parts.cluster.snapshot())
            if gone is not None:
                logger.info("policy %s: outrun: %s", name, gone.message)
                metrics.RUNS.labels(name, gone.reason.value).inc()
                return self._parts.now
            fresh = await self._parts.policy(name)
            if fresh is None or fresh.spec != policy.spec:
                logger.info("policy %s: changed meanwhile", name)
                return self._parts.now
        # 4. Act, and say what came of it.
        if isinstance(verdict, Found):
            outcome = await self._make(policy, standing, verdict)
        else:
            outcome = Outcome(verdict.reason, verdict.message)
            pods = [PodRef(p.namespace, p.name, p.uid) for p in case.view.waiting.hopeful[:_TOLD]]
            for each in left_alone(pods, name, verdict.reason):
                self._parts.announce(each)
        self._tried[policy.metadata.uid or ""] = frozenset(
            pod.uid for pod in case.view.waiting.hopeful if pod.waiting_since is not None
        )
        await self._finish(policy, standing, outcome)
        metrics.RUN_SECONDS.labels(name).observe(time.monotonic() - began)
        return verdict.retry_at if isinstance(verdict, Skip) else None

    async def _decide(self, policy: str, request: Request) -> Decision:
        """Ask the planner, in a thread: it is busy for up to the policy's window."""
        began = time.monotonic()
        decision = await asyncio.to_thread(decide, request, self._parts.solve, time.monotonic)
        metrics.SOLVE_SECONDS.labels(policy).observe(time.monotonic() - began)
        self._parts.turns.finished(_LOOP)  # a turn with many policies takes many windows
        metrics.GAP_PODS.labels(policy).set(sum(tier.gap for tier in decision.tiers))
        return decision

    async def _make(self, policy: PackingPolicy, standing: Standing, found: Found) -> Outcome:
        """Make the plan's object, unless the policy only observes."""
        parts, plan = self._parts, found.plan
        if policy.spec.mode == "Observe":
            for each in would_run(plan, Reason.PLAN_OBSERVED)[:_TOLD]:
                parts.announce(each)
            return Outcome(Reason.PLAN_OBSERVED, found.message)
        approves = policy.spec.mode == "Auto" and not standing.unenforced
        body = plan_object(plan, policy, parts.identity if approves else "")
        try:
            parts.objects.put(await parts.api.create(PLANS, dict(body)))
        except ApiError as error:
            if error.status in _REFUSED:
                return Outcome(Reason.PLAN_REFUSED, error.said)
            if error.status != 409:
                raise
            there = await parts.api.get(f"{PLANS}/{plan.metadata.name}")
            if not same(body, there):
                said = f"there is another {plan.metadata.name}, made by hand or of other content"
                return Outcome(Reason.PLAN_REFUSED, said)
            parts.objects.put(there)
        for change, count in (
            ("placement", len(plan.spec.placements)),
            ("move", len(plan.spec.moves)),
            ("eviction", len(plan.spec.evictions)),
        ):
            metrics.PLANNED.labels(policy.metadata.name, change).inc(count)
        if not approves:
            for each in would_run(plan, Reason.WAITING_FOR_APPROVAL)[:_TOLD]:
                parts.announce(each)
        return Outcome(Reason.PLAN_CREATED, found.message, plan.metadata.name)

    async def _finish(self, policy: PackingPolicy, standing: Standing, outcome: Outcome) -> None:
        metrics.RUNS.labels(policy.metadata.name, outcome.reason.value).inc()
        logger.info("policy %s: %s: %s", policy.metadata.name, outcome.reason, outcome.message)
        await self._report(policy, standing, outcome)

    async def _report(
        self, policy: PackingPolicy, standing: Standing, outcome: Outcome | None
    ) -> None:
        """Write a policy's status if it says something new."""
        policy = self._known(policy)
        status = policy_status(policy, standing, self._parts.now, outcome)
        if status != policy.status:
            await self._parts.report(policy, status, MANAGER)
            self._written[policy.metadata.uid or ""] = status

    async def _tidy(self) -> None:
        """Delete plans that nobody needs; forget policies that are gone."""
        parts = self._parts
        for plan in deletable(parts.objects.plans, parts.now):
            await parts.api.delete(f"{PLANS}/{plan.metadata.name}", uid=plan.metadata.uid)
        metrics.forget_policies(frozenset(p.metadata.name for p in parts.objects.policies))
        there = {policy.metadata.uid for policy in parts.objects.policies}
        for uid in self._written.keys() - there:
            del self._written[uid]
            self._tried.pop(uid, None)

    # What is known

    def _known(self, policy: PackingPolicy) -> PackingPolicy:
        """Return a policy with the status that was written last: the watch may lag behind."""
        status = self._written.get(policy.metadata.uid or "")
        return policy if status is None else policy.model_copy(update={"status": status})

    def _own(self, policy: PackingPolicy) -> list[PackingPlan]:
        name = policy.metadata.name
        return [plan for plan in self._parts.objects.plans if plan.spec.policy == name]

    def _views(self) -> Mapping[str, PoolView]:
        """Return the pools that exist, as they are now."""
        snapshot = self._parts.cluster.snapshot()
        return {pool.metadata.name: survey(pool, snapshot) for pool in self._parts.objects.pools}

    def _standings(
        self, policies: list[PackingPolicy], views: Mapping[str, PoolView]
    ) -> dict[str, Standing]:
        """Return by policy what stands against its acting."""
        snapshot = self._parts.cluster.snapshot()
        barred = overlaps(policies, {name: view.names for name, view in views.items()})
        standings = {}
        for policy in policies:
            view = views.get(policy.spec.pool_ref.name)
            if view is None:
                standings[policy.metadata.name] = Standing(found=False)
                continue
            skip = held(self._case(policy, view))
            standings[policy.metadata.name] = Standing(
                found=True,
                older=barred.get(policy.metadata.name, ""),
                unenforced=unenforced(snapshot, view.nodes, self._parts.enforced),
                held=(skip.reason, skip.message) if skip else None,
            )
        return standings

    def _case(self, policy: PackingPolicy, view: PoolView) -> Case:
        parts = self._parts
        return Case(policy, view, parts.cluster.snapshot(), parts.objects.plans, parts.now)

    def _changed(self, kind: Kind, name: str) -> None:
        """Wake when a pod begins to wait; everything else is seen at the next turn."""
        if kind.name == "Pod":
            pod = self._parts.cluster.pod_named(name)
            if pod is not None and pod.pending and pod.waiting_since is not None:
                self._pace.wake()
