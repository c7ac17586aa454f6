"""Executors beyond an application's first: who gets more, and who gives back what was borrowed.

Covered: the invariants at the top of `fairstow.spark.elastic`, and what they say in small cases.
Not covered: pods (e2e/spark_admission/test_borrowing.py).
"""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from fairstow.spark.elastic import MOST_ENDING, Executor, Share, give_back, let_go, losable

MILLI = st.sampled_from([500, 1000, 2000, 4000])


def executor(uid: str, milli: int = 1000, *, app: str = "etl", since: int = 0) -> Executor:
    return Executor(uid=uid, app=app, user=f"of-{app}", milli=milli, since=since)


@st.composite
def cohorts(draw: st.DrawFn) -> list[Share]:
    found = []
    for queue in "abc"[: draw(st.integers(1, 3))]:
        sizes = draw(st.lists(MILLI, max_size=15))
        least = draw(st.integers(0, 4000))
        own = draw(st.integers(0, 20)) * 1000
        used = least + sum(sizes)
        needs = draw(st.integers(0, 5)) * 1000
        found.append(
            Share(
                queue=queue,
                own=own,
                used=used,
                needs=needs if used + needs <= own else 0,
                losable=tuple(executor(f"{queue}{n}", m, since=n) for n, m in enumerate(sizes)),
                ending=draw(st.sampled_from([0, 0, 1000])),
                ends=draw(st.sampled_from([0, 0, 1, MOST_ENDING])),
            )
        )
    return found


@given(cohorts())
def test_what_comes_back_is_what_is_missing_and_from_borrowers_alone(cohort: list[Share]) -> None:
    going = give_back(cohort)
    gone = {each.queue: [e for e in each.losable if e in going] for each in cohort}
    assert sum(map(len, gone.values())) == len(going), "only losable ones"
    missing = sum(s.needs + s.used - s.own - s.ending for s in cohort)
    if missing <= 0 or not any(share.needs for share in cohort):
        assert not going
    assert sum(e.milli for e in going[:-1]) < max(missing, 1), "no more than is missing"
    for share in cohort:
        lost = sum(e.milli for e in gone[share.queue])
        if lost:
            last = min(gone[share.queue], key=lambda e: (e.since, e.uid)).milli
            assert share.used - share.ending - (lost - last) > share.own, "it owes still"
            kept = [e for e in share.losable if e not in going]
            assert all(e.since <= g.since for e in kept for g in gone[share.queue]), "newest first"
    assert len(going) + sum(share.ends for share in cohort) <= max(
        MOST_ENDING, sum(share.ends for share in cohort)
    )


def test_the_newest_executors_of_who_borrowed_most_go_first() -> None:
    two = tuple(executor(uid, since=at) for uid, at in (("old", 1), ("new", 2)))
    borrower = Share(queue="a", own=2000, used=4000, losable=two)
    lender = Share(queue="b", own=2000, used=0, needs=1000)
    assert [each.uid for each in give_back([borrower, lender])] == ["new"]
    idle = Share(queue="c", own=1000, used=0)
    assert not give_back([borrower, lender, idle]), "there are idle cores"
    ending = Share(queue="a", own=2000, used=4000, losable=two[:1], ending=1000, ends=1)
    assert not give_back([ending, lender]), "it comes by itself"


def test_an_application_keeps_its_oldest() -> None:
    three = [executor(str(at), since=at) for at in (3, 1, 2)]
    assert [each.uid for each in losable(three, 2)] == ["3"]
    assert not losable(three, 3)


@given(
    st.lists(st.tuples(st.sampled_from("xyz"), MILLI), max_size=20),
    st.dictionaries(st.sampled_from("xyz"), st.integers(0, 3)),
    st.integers(0, 10_000),
)
def test_what_goes_fits_what_is_free_but_the_least_goes_always(
    held: list[tuple[str, int]], lacks: dict[str, int], free: int
) -> None:
    there = [executor(f"e{n}", milli, app=app) for n, (app, milli) in enumerate(held)]
    going = let_go(there, lacks, free, {}, {})
    assert len({each.uid for each in going}) == len(going)
    apps = Counter(app for app, _ in held)
    least = {app: min(lacks.get(app, 0), count) for app, count in apps.items()}
    gone = Counter(each.app for each in going)
    assert all(gone[app] >= number for app, number in least.items())
    beyond = list(going)
    for app, number in least.items():
        for each in [each for each in beyond if each.app == app][:number]:
            beyond.remove(each)
    assert sum(each.milli for each in beyond) <= free


def test_the_user_with_the_fewest_cores_for_their_weight_is_next() -> None:
    held = [executor(f"{app}{n}", app=app) for app in "xy" for n in range(3)]
    going = let_go(held, {}, 4000, {"of-x": 2000}, {"of-x": 2})
    assert Counter(each.app for each in going) == {"x": 2, "y": 2}
