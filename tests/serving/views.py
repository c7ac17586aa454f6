"""Pools of instances as policies see them, for tests: views counted from lists of requests."""

from hypothesis import strategies as st

from fairstow.serving.model import InstanceView, Phase, PoolView, RequestView, State

CAPACITY = 13_616


def request(name: object, prompt: int = 100, **more: object) -> RequestView:
    given = {"limit": 6_000, "arrived": 0.0, "phase": Phase.DECODE} | more
    return RequestView(str(name), prompt, **given)  # type: ignore[arg-type]


def instance(name: object, *requests: RequestView, **more: object) -> InstanceView:
    """Count what is on an instance."""
    view = InstanceView(f"i{name}", CAPACITY, requests=lambda: list(requests))
    running = [r for r in requests if r.phase is not Phase.QUEUED]
    queued = [r for r in requests if r.phase is Phase.QUEUED]
    view.used = sum(view.size(r.length) for r in running)
    view.batch, view.queued = len(running), len(queued)
    view.head = view.size(queued[0].length) if queued else 0
    view.demand = sum(view.size(r.length) for r in queued)
    view.priorities = {r.priority for r in requests}
    for key, value in more.items():
        setattr(view, key, value)
    return view


def pool(*instances: InstanceView, **more: object) -> PoolView:
    return PoolView(instances=list(instances), **more)  # type: ignore[arg-type]


@st.composite
def pools(draw: st.DrawFn, *, draining: bool = True) -> PoolView:
    """Draw pools of any load."""
    views = []
    for i in range(draw(st.integers(1, 5))):
        requests: list[RequestView] = []
        free = CAPACITY
        for j in range(draw(st.integers(0, 12))):
            length = draw(st.integers(1, 6_000))
            phase = Phase.DECODE if length < free else Phase.QUEUED
            if phase is Phase.DECODE:
                free -= -(-length // 16) * 16
            requests.append(
                request(
                    f"{i}.{j}",
                    length,
                    phase=phase,
                    priority=draw(st.sampled_from([-1, 0, 0, 0])),
                    movable=draw(st.integers(0, 9)) > 0,
                )
            )
        requests.sort(key=lambda r: r.phase is Phase.QUEUED)
        state = State.DRAINING if draining and draw(st.integers(0, 5)) == 0 else State.READY
        views.append(instance(i, *requests, state=state))
    waiting = [
        request(f"w{i}", draw(st.integers(1, 6_000))) for i in range(draw(st.integers(0, 3)))
    ]
    return pool(*views, waiting=waiting, outputs=[256] * draw(st.sampled_from([0, 50])))
