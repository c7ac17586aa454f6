"""The gateway's count of what is on an engine.

Covered: after any order of requests that come, speak, move and leave, the sums that are kept equal
those taken over the requests. Not covered: whether an engine agrees (its own counts differ by what
it batches).
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fairstow.gateway.engines.protocol import Load
from fairstow.gateway.ledger import Others, Place
from fairstow.serving.model import Phase, RequestView

STEPS = st.lists(
    st.tuples(
        st.sampled_from(["add", "speak", "remove", "expect", "forget", "correct", "share"]),
        st.integers(0, 7),
        st.integers(1, 40),
    ),
    max_size=60,
)


@given(STEPS)
def test_sums_are_those_of_the_requests(steps: list[tuple[str, int, int]]) -> None:
    place = Place("a", 400, 16, "")
    requests = [
        RequestView(id=str(n), prompt=30 * n + 1, limit=500, arrived=0.0, priority=n % 3)
        for n in range(8)
    ]
    coming: dict[str, int] = {}
    for what, which, tokens in steps:
        request = requests[which]
        if what == "add" and request not in place:
            place.add(request)
            coming.pop(request.id, None)
        elif what == "speak" and request in place:
            place.spoke(request, tokens)
        elif what == "remove":
            place.remove(request)
        elif what == "expect" and request not in place:
            place.expect(request)
            coming[request.id] = place.view.size(request.length + 1)
        elif what == "forget":
            place.forget(request)
            coming.pop(request.id, None)
        elif what == "correct":
            place.correct(Load(running=which, waiting=tokens % 3, kv_used=tokens / 40))
        elif what == "share":
            place.share(Others(used=4 * tokens, running=which, waiting=tokens % 3, demand=which))
        _check(place, coming)


def test_others_are_what_two_reports_say() -> None:
    place = Place("a", 1600, 16, "")
    ours = RequestView(id="1", prompt=159, limit=500, arrived=0.0)
    place.add(ours)
    busy = Load(running=3, waiting=1, kv_used=0.5)
    place.correct(busy)
    assert (place.view.used, place.view.batch, place.view.queued) == (160, 1, 0)
    place.correct(busy)
    assert (place.view.used, place.view.batch, place.view.queued) == (800, 3, 1)
    place.remove(ours)
    assert (place.view.used, place.view.batch) == (640, 2)
    place.correct(Load(running=0, waiting=0, kv_used=0.01))
    assert (place.view.used, place.view.batch, place.view.queued) == (0, 0, 0)


def test_what_peers_tell_is_not_others() -> None:
    place = Place("a", 1600, 16, "")
    place.add(RequestView(id="1", prompt=159, limit=500, arrived=0.0))
    peers = Others(used=480, running=1, waiting=1, demand=320)
    place.share(peers)
    view = place.view
    assert (view.used, view.batch, view.queued, view.demand) == (640, 2, 1, 320)
    assert place.ours() == Others(used=160, running=1)
    for _ in range(2):
        place.correct(Load(running=2, waiting=1, kv_used=0.4))
    assert place.others == Others()
    for _ in range(2):
        place.correct(Load(running=4, waiting=1, kv_used=0.6))
    assert (view.used, view.batch, place.others) == (960, 4, Others(used=320, running=2))
    assert place.ours() == Others(used=160, running=1)
    place.share(Others())
    assert (view.used, view.batch, view.queued, view.demand) == (480, 3, 0, 0)


def _check(place: Place, coming: dict[str, int]) -> None:
    others, peers = place.others, place.peers
    view = place.view
    admitted, waiting = list(place.admitted.values()), list(place.waiting.values())
    sizes = [view.size(each.length + 1) for each in admitted]
    assert view.used == sum(sizes) + sum(coming.values()) + others.used + peers.used
    assert view.batch == len(admitted) + others.running + peers.running
    needed = sum(view.size(each.length + 1) for each in waiting)
    assert view.demand == needed + peers.demand
    assert view.queued == len(waiting) + others.waiting + peers.waiting
    ours = sum(sizes) + sum(coming.values())
    assert place.ours() == Others(ours, len(admitted), len(waiting), needed)
    assert view.head == (view.size(waiting[0].length + 1) if waiting else 0)
    assert view.arriving == len(coming)
    assert set(view.priorities) == {each.priority for each in [*admitted, *waiting]}
    assert all(each.phase is Phase.QUEUED for each in waiting)
    if waiting:  # whoever waits doesn't fit
        assert view.used + view.head > view.capacity
