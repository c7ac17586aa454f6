"""Which of two policies acts where their pools share nodes: the older one.

Called before any policy decides, and by the webhook, which warns of it. Policies are asked in order
of age (then name); one that shares a node, or the pool itself, with one that acts does nothing. It
makes no difference whether the older one is suspended or only observes: that may change any moment,
and nobody else should have begun something by then.
"""

from collections.abc import Iterable, Mapping

from fairstow.api import PackingPolicy


def overlaps(
    policies: Iterable[PackingPolicy], nodes: Mapping[str, frozenset[str]]
) -> dict[str, str]:
    """Return, by policy that must not act, the older policy that does.

    Args:
        policies: all there are.
        nodes: names of nodes by pool.
    """
    acting: list[PackingPolicy] = []
    barred: dict[str, str] = {}
    for policy in sorted(policies, key=_age):
        pool = policy.spec.pool_ref.name
        own = nodes.get(pool, frozenset())
        older = next(
            (
                other
                for other in acting
                if other.spec.pool_ref.name == pool
                or own & nodes.get(other.spec.pool_ref.name, frozenset())
            ),
            None,
        )
        if older is None:
            acting.append(policy)
        else:
            barred[policy.metadata.name] = older.metadata.name
    return barred


def _age(policy: PackingPolicy) -> tuple[bool, str, str]:
    """Sort key: the API server writes all creation times alike, so their texts sort by time."""
    created = policy.metadata.creation_timestamp or ""
    return not created, created, policy.metadata.name
