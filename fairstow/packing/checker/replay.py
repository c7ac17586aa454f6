"""The replay: one step after the other, every departure and arrival judged in its moment."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace

from fairstow.packing.checker.affinity import affinity_obstacles, anti_affinity_obstacles
from fairstow.packing.checker.cluster import Budget, Cluster, Node
from fairstow.packing.checker.filters import node_obstacles, port_obstacles, room_obstacles
from fairstow.packing.checker.movable import immovable_because
from fairstow.packing.checker.plan import Bind, Change, Plan, PodRef, Step
from fairstow.packing.checker.pods import Pod
from fairstow.packing.checker.spread import SpreadJudge
from fairstow.packing.checker.state import State
from fairstow.packing.checker.verdict import Obstacle, Report, Rule
from fairstow.packing.checker.volumes import new_volumes, volume_obstacles


class Replay:
    """Carries out the steps on a state of the cluster.

    A step that breaks a rule is reported and carried out all the same, so that what follows is
    judged in the state the plan meant.
    """

    def __init__(self, cluster: Cluster, plan: Plan, report: Report) -> None:
        self._cluster = cluster
        self._plan = plan
        self._report = report
        self._roles: Mapping[str, Change] = {c.pod.key: c for c in plan.changes}
        self._ceiling = _eviction_ceiling(cluster, plan)
        self._gone_for_good: dict[Budget, int] = {}
        self._engines_gone = Counter[str]()
        self._running = cluster.running()
        self._state = State(cluster)
        self._spread = SpreadJudge(self._state)

    def run(self) -> Mapping[str, str]:
        """Replay all steps and return the node of every pod that has one, by pod."""
        for number, step in enumerate(self._plan.steps, start=1):
            self._judge_budgets(number, step)
            self._judge_engines(number, step)
            for ref in step.evict:
                if pod := self._pod(ref):
                    self._evict(number, pod)
            for bind in step.bind:
                if pod := self._pod(bind.pod):
                    self._bind(number, pod, bind)
        return self._state.homes

    def _pod(self, ref: PodRef) -> Pod | None:
        """Return the pod meant, None for one that isn't there, which was reported before."""
        pod = self._cluster.pods.get(ref.key)
        return pod if pod is not None and pod.uid == ref.uid else None

    def _evict(self, number: int, pod: Pod) -> None:
        node = self._state.homes.get(pod.key, "")
        if reason := immovable_because(pod, self._cluster):
            self._report.add(
                Rule.POD_NOT_MOVABLE,
                f"{pod.key} must not be evicted: {reason}",
                step=number,
                pod=pod.key,
                node=node,
            )
        change = self._roles.get(pod.key)
        if change is None or change.role == "eviction":
            self._judge_priority(number, pod, node)
        self._state.leave(pod)

    def _judge_priority(self, number: int, pod: Pod, node: str) -> None:
        """Product: strictly below a placed pod that may preempt. Paper: at most equal to one."""
        ceiling, paper = self._ceiling, self._plan.paper
        if ceiling is not None and (pod.priority < ceiling or (paper and pod.priority == ceiling)):
            return
        whom = "no placed pod may preempt" if ceiling is None else f"the highest is {ceiling}"
        self._report.add(
            Rule.EVICTION_PRIORITY,
            f"{pod.key} of priority {pod.priority} is evicted for good, but only pods of "
            f"{'at most equal' if paper else 'lower'} priority than a placed one may be: {whom}",
            step=number,
            pod=pod.key,
            node=node,
        )

    def _judge_budgets(self, number: int, step: Step) -> None:
        """Count who is down at once, then book the evictions for good on their budgets."""
        down: dict[Budget, list[Pod]] = {}
        for ref in step.evict:
            pod = self._pod(ref)
            if pod is None:
                continue
            budgets = self._cluster.budgets_of(pod)
            reasons = [f"budget {b.name} {b.forbids}" for b in budgets if b.forbids]
            if len(budgets) > 1:
                names = ", ".join(b.name for b in budgets)
                reasons.append(f"{len(budgets)} budgets cover it ({names})")
            for reason in reasons:
                self._report.add(
                    Rule.BUDGET_FORBIDS,
                    f"{pod.key} can't be evicted: {reason}",
                    step=number,
                    pod=pod.key,
                    node=pod.node,
                )
            for budget in budgets:
                down.setdefault(budget, []).append(pod)
        for budget, pods in down.items():
            used = self._gone_for_good.get(budget, 0)
            if not budget.forbids and len(pods) > budget.allowed - used:
                self._report.add(
                    Rule.BUDGET_EXCEEDED,
                    f"{len(pods)} pods of budget {budget.namespace}/{budget.name} go down at once, "
                    f"{budget.allowed - used} may (disruptionsAllowed {budget.allowed}, "
                    f"{used} evicted for good before)",
                    step=number,
                    pod=pods[-1].key,
                )
            back = {bind.pod.key for bind in step.bind}
            self._gone_for_good[budget] = used + sum(p.key not in back for p in pods)

    def _judge_engines(self, number: int, step: Step) -> None:
        """Count the instances of each serving pool that are away at once, or for good."""
        back = {bind.pod.key for bind in step.bind}
        down: dict[str, list[Pod]] = {}
        for pod in filter(None, map(self._pod, step.evict)):
            for why in self._cluster.engines.obstacles(pod, self._running):
                said = f"{pod.key} must not be evicted: {why}"
                self._report.add(Rule.ENGINE_NEEDED, said, step=number, pod=pod.key, node=pod.node)
            for pool in self._cluster.engines.of(pod):
                down.setdefault(pool.key, []).append(pod)
        for key, pods in down.items():
            gone = self._engines_gone[key]
            if len(pods) + gone > 1:
                said = f"{len(pods) + gone} instances of serving pool {key} are away at once"
                self._report.add(Rule.ENGINE_NEEDED, said, step=number, pod=pods[-1].key)
            self._engines_gone[key] += sum(pod.key not in back for pod in pods)

    def _bind(self, number: int, pod: Pod, bind: Bind) -> None:
        node = self._cluster.nodes.get(bind.node)
        self._state.leave(pod)
        if node is None:
            self._report.add(
                Rule.NODE_UNKNOWN,
                f"there is no node {bind.node}",
                step=number,
                pod=pod.key,
                node=bind.node,
            )
            return
        pod = replace(pod, requests=pod.requests_on_arrival)
        for rule, reason in self._obstacles(pod, node):
            message = f"{pod.key} can't go to {node.name}: {reason}"
            self._report.add(rule, message, step=number, pod=pod.key, node=node.name)
        for sentence in new_volumes(pod, self._state):
            self._report.note(sentence)
        self._state.arrive(pod, node.name)

    def _obstacles(self, pod: Pod, node: Node) -> Iterator[Obstacle]:
        state = self._state
        yield from node_obstacles(pod, node)
        yield from room_obstacles(pod, node, state.there(node))
        yield from port_obstacles(pod, node, state.there(node))
        yield from anti_affinity_obstacles(pod, node, state)
        yield from affinity_obstacles(pod, node, state)
        yield from self._spread.obstacles(pod, node)
        yield from volume_obstacles(pod, node, state)


def _eviction_ceiling(cluster: Cluster, plan: Plan) -> int | None:
    """Highest priority among the placed pods that may cost others their place."""
    placed = (cluster.pods.get(c.pod.key) for c in plan.changes if c.role == "placement")
    return max((p.priority for p in placed if p and (p.preempts or plan.paper)), default=None)
