"""The index in memory: against exact search, quotas, expiry, who is found by whom.

Left out: how fast it is and how much memory it takes (benchmarks).
"""

from __future__ import annotations

import hashlib
import tracemalloc

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fairstow.cache_sidecar.embedding import DIMENSION, MODEL, Vector
from fairstow.cache_sidecar.index import Index
from fairstow.cache_sidecar.partition import Partition
from fairstow.cache_sidecar.stores.records import Head

VECTORS = np.random.default_rng(7).normal(size=(400, DIMENSION)).astype(np.float32)
VECTORS /= np.linalg.norm(VECTORS, axis=1, keepdims=True)


def head(
    name: str,
    vector: Vector | None = None,
    *,
    namespace: str = "n",
    fingerprint: str = "f",
    tenant: str = "t",
    category: str = "c",
    model: str = MODEL,
    stored: float = 0.0,
    lives: float = 100.0,
) -> Head:
    return Head(
        id=hashlib.sha256(name.encode()).hexdigest()[:32],
        namespace=namespace,
        fingerprint=fingerprint,
        tenant=tenant,
        category=category,
        question=name,
        stored=stored,
        expires=stored + lives,
        saved=1.0,
        forms=7,
        model=model,
        vector=b"" if vector is None else vector.astype(np.float16).tobytes(),
    )


def put(index: Index, added: Head, *, quota: int = 100, priority: int = 0) -> list[str]:
    return index.put(added, priority=priority, quota=quota, threshold=0.9)


def names(index: Index) -> set[str]:
    return {row.question or "" for row in index.rows.values()}


@settings(deadline=None, max_examples=30)
@given(
    most_exact=st.sampled_from([10, 50, 1_000]),
    gone=st.sets(st.integers(0, 299), max_size=150),
)
def test_nearest_is_that_of_exact_search_whatever_is_in_the_graph(
    most_exact: int, gone: set[int]
) -> None:
    partition = Partition(most_exact)
    for at in range(300):
        partition.add(str(at), VECTORS[at].astype(np.float16))
    for at in gone:
        partition.remove(str(at))
    assert len(partition) == 300 - len(gone)
    kept = np.array([at for at in range(300) if at not in gone])
    wrong = 0
    for question in VECTORS[300:]:
        near = VECTORS[kept] @ question
        (found, similarity), *_ = partition.search(question, 4)
        assert int(found) not in gone
        assert abs(similarity - VECTORS[int(found)] @ question) < 2e-3
        wrong += similarity < near.max() - 2e-3
    assert wrong <= 2  # of 100; the graph is approximate


def test_loaded_at_once_is_as_added_one_by_one() -> None:
    one, other = Partition(50), Partition(50)
    entries = [str(at) for at in range(300)]
    for entry, vector in zip(entries, VECTORS, strict=False):
        one.add(entry, vector.astype(np.float16))
    other.add_all(entries, VECTORS[:300].astype(np.float16))
    assert len(one) == len(other) == 300
    found = [(one.search(each, 8)[0], other.search(each, 8)[0]) for each in VECTORS[300:]]
    assert sum(a[0] != b[0] for a, b in found) <= 2  # of 100; graphs are approximate


def test_an_entry_put_again_replaces_itself() -> None:
    index = Index(most=10)
    put(index, head("a", VECTORS[0]))
    put(index, head("a", VECTORS[1]))
    (found,) = index.near("n", "f", "c", VECTORS[1], 1)
    assert (found.similarity or 0) > 0.99
    assert index.vectors() == len(index) == 1


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("xyz"), st.integers(0, 20))),
    st.sampled_from("abc"),
    st.sampled_from("xyz"),
)
@settings(deadline=None, max_examples=50)
def test_nothing_of_another_namespace_or_context_is_found(
    entries: list[tuple[str, str, int]], namespace: str, fingerprint: str
) -> None:
    index = Index(most=1_000)
    for owner, context, at in entries:
        name = f"{owner}{context}{at}"
        put(index, head(name, VECTORS[at], namespace=owner, fingerprint=context, tenant=owner))
    found = index.near(namespace, fingerprint, "c", VECTORS[0], 1, most=100)
    assert all(each.namespace == namespace for each in found)
    assert all(each.fingerprint == fingerprint for each in found)
    mine = {at for owner, context, at in entries if (owner, context) == (namespace, fingerprint)}
    assert len(found) == len(mine)


def test_a_full_quota_costs_its_own_tenant_only() -> None:
    index = Index(most=1_000, seed=1)
    put(index, head("other", VECTORS[0], tenant="other"), quota=5)
    for at in range(50):
        # Users that a client makes up are namespaces of one tenant.
        put(index, head(f"mine {at}", VECTORS[at], namespace=f"user {at}"), quota=5)
    assert "other" in names(index)
    assert len(index) == 6


def test_expired_entries_go_first_then_lower_priorities() -> None:
    index = Index(most=1_000, seed=1)
    put(index, head("old", lives=10), quota=3)
    put(index, head("important", stored=5), quota=3, priority=9)
    put(index, head("plain", stored=5), quota=3)
    put(index, head("new", stored=20), quota=3, priority=9)
    assert names(index) == {"important", "plain", "new"}
    put(index, head("newer", stored=21), quota=3, priority=9)
    assert names(index) == {"important", "new", "newer"}


def test_all_together_are_bounded_at_the_expense_of_who_has_most() -> None:
    index = Index(most=20, seed=1)
    put(index, head("other", tenant="other"))
    for at in range(100):
        put(index, head(f"mine {at}"))
    assert len(index) == 20
    assert "other" in names(index)


def test_no_quota_keeps_nothing() -> None:
    index = Index(most=20)
    assert put(index, head("a", VECTORS[0]), quota=0)
    assert len(index) == index.vectors() == 0


def test_expiry_is_absolute_and_leaves_what_was_put_again() -> None:
    index = Index(most=20)
    put(index, head("a", lives=10))
    put(index, head("b", lives=10))
    put(index, head("b", stored=5, lives=10))
    assert len(index.expired(9)) == 0
    assert len(index.expired(10)) == 1
    assert names(index) == {"b"}
    assert len(index.expired(15)) == 1


def test_vectors_of_another_model_or_damaged_are_not_compared() -> None:
    index = Index(most=20)
    put(index, head("other model", VECTORS[0], model="other"))
    put(index, head("no number", np.full(DIMENSION, np.nan, np.float32)))
    index.load([head("other model 2", VECTORS[0], model="other")], {})
    assert len(index) == 3
    assert index.vectors() == 0
    assert index.near("n", "f", "c", VECTORS[0], 1) == ()


def test_conversations_of_their_own_take_little_memory() -> None:
    index = Index(most=10_000)
    heads = [head(f"{n}", VECTORS[n % 100], fingerprint=f"context {n}") for n in range(500)]
    tracemalloc.start()
    for each in heads:
        put(index, each, quota=10_000)
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert taken / 500 < 3_000
