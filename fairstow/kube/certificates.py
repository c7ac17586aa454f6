"""Which of our certificates are missing, expire, or don't match their names, and what to do next.

Called by controllers/certs, which holds them in Secrets. `decide` is pure: what is held and the
time go in, the next actions come out; it is asked again after each round until there are none. So
whoever is killed between two rounds is carried on from what is stored.

An authority is replaced without a moment in which somebody isn't trusted:

1. The *coming* authority is made beside the one that signs; both are trusted, everybody is told,
   and programs that read whom to trust only when they start are started anew.
2. Once everybody had the time to read that (`Lifetimes.settle`), it signs: leaves are renewed.
3. Once everybody had the time to load the new leaves, the former authority is trusted no more.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from fairstow.kube.authority import Certificate


@dataclass(frozen=True, kw_only=True)
class Lifetimes:
    """How long certificates are good for.

    Attributes:
        authority: of an authority; the next one is made when a fifth of it is left.
        leaf: of what it signs; renewed when a third of it is left.
        settle: within which everybody reads what has been stored: a kubelet renews mounted Secrets
            each minute, the extender and the webhook look at their files each few seconds.
    """

    authority: timedelta = timedelta(days=5 * 365)
    leaf: timedelta = timedelta(days=90)
    settle: timedelta = timedelta(hours=1)


@dataclass(frozen=True, kw_only=True)
class Leaf:
    """A certificate that is wanted.

    Attributes:
        secret: where it is kept, as tls.crt, tls.key and ca.crt.
        user: its common name; who the holder is where it presents it as a client.
        hosts: DNS names it serves under; none for a client's.
    """

    secret: str
    user: str
    hosts: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class HeldLeaf:
    """A leaf's Secret as it is. Attributes: certificate: None if absent, broken or without key."""

    certificate: Certificate | None
    trusted: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class Held:
    """What the cluster holds.

    Attributes:
        authority: what signs; None if absent, broken or without its key.
        coming: the authority that will sign next, likewise.
        trusted: whose signatures are to be accepted.
        told: since when everybody is told whom to trust; None: not everybody is.
        leaves: by the name of the Secret.
        bundles: by webhook configuration: the ids of those whom the API server trusts there.
        rollouts: by Deployment that reads whom to trust only when it starts: the id of the newest
            authority when it was last started anew, "" if it never was.
    """

    authority: Certificate | None = None
    coming: Certificate | None = None
    trusted: tuple[Certificate, ...] = ()
    told: datetime | None = None
    leaves: Mapping[str, HeldLeaf] = field(default_factory=dict)
    bundles: Mapping[str, frozenset[str]] = field(default_factory=dict)
    rollouts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class MakeAuthority:
    """Make an authority that signs at once; nothing else is trusted."""


@dataclass(frozen=True)
class MakeComingAuthority:
    """Make the authority that will sign, trusted from now on."""


@dataclass(frozen=True)
class Promote:
    """Let the coming authority sign."""


@dataclass(frozen=True)
class Trust:
    """Accept the signatures of these alone."""

    ids: frozenset[str]


@dataclass(frozen=True)
class Distribute:
    """Store who is trusted beside a leaf."""

    leaf: Leaf


@dataclass(frozen=True)
class Inject:
    """Tell the API server whom to trust when it calls a webhook."""

    configuration: str


@dataclass(frozen=True)
class Roll:
    """Start a Deployment's pods anew. Attributes: newest: the id of the newest authority."""

    deployment: str
    newest: str


@dataclass(frozen=True)
class Told:
    """Note that everybody has been told whom to trust."""


@dataclass(frozen=True)
class Issue:
    """Sign a new certificate. Attributes: why: for the log."""

    leaf: Leaf
    why: str


Action = (
    MakeAuthority
    | MakeComingAuthority
    | Promote
    | Trust
    | Distribute
    | Inject
    | Roll
    | Told
    | Issue
)


def decide(
    held: Held, wanted: tuple[Leaf, ...], lifetimes: Lifetimes, now: datetime
) -> tuple[Action, ...]:
    """Return what to do now: authorities first, then trust, then leaves; empty means all is well.

    Only what may be done at once is returned together: trust is stored before what needs it.
    """
    if held.authority is None or held.authority.expires <= now:
        return (MakeAuthority(),)
    if succession := _succession(held, held.authority, lifetimes, now):
        return (succession,)
    if spread := (*_spread(held, wanted), *_rolls(held, held.coming or held.authority)):
        return spread
    if held.told is None:
        return (Told(),)
    return tuple(
        Issue(leaf, why)
        for leaf in wanted
        if (why := _unfit(held.leaves.get(leaf.secret), leaf, held.authority, lifetimes, now))
    )


def _succession(
    held: Held, authority: Certificate, lifetimes: Lifetimes, now: datetime
) -> Action | None:
    """Return the next step from one authority to another, if there is one to take."""
    if held.coming is None:
        if authority.expires - now < lifetimes.authority / 5:
            return MakeComingAuthority()
    elif held.told is not None and now - held.told >= lifetimes.settle:
        return Promote()
    leaves = [each.certificate for each in held.leaves.values() if each.certificate is not None]
    signers = {each.issuer for each in leaves}
    settled = all(now - each.created >= lifetimes.settle for each in leaves)
    needed = {each.id for each in (authority, held.coming) if each is not None}
    needed |= {
        each.id
        for each in held.trusted
        if each.expires > now and (each.id in signers or not settled)
    }
    if {each.id for each in held.trusted} != needed:
        return Trust(frozenset(needed))
    return None


def _spread(held: Held, wanted: tuple[Leaf, ...]) -> tuple[Action, ...]:
    trusted = frozenset(each.id for each in held.trusted)
    stale = (name for name, bundle in sorted(held.bundles.items()) if bundle != trusted)
    behind = (
        leaf
        for leaf in wanted
        if (kept := held.leaves.get(leaf.secret)) is not None
        and kept.certificate is not None
        and kept.trusted != trusted
    )
    return (*map(Inject, stale), *map(Distribute, behind))


def _rolls(held: Held, newest: Certificate) -> tuple[Action, ...]:
    """Return whom to start anew; done after `_spread`, in the same round."""
    return tuple(
        Roll(name, newest.id) for name, known in sorted(held.rollouts.items()) if known != newest.id
    )


def _unfit(
    held: HeldLeaf | None, leaf: Leaf, authority: Certificate, lifetimes: Lifetimes, now: datetime
) -> str:
    """Say why a leaf must be issued anew, "" if it needn't."""
    if held is None or held.certificate is None:
        return "missing"
    if held.certificate.expires - now < lifetimes.leaf / 3:
        return "expires soon"
    if held.certificate.issuer != authority.id:
        return "signed by another authority"
    if (held.certificate.user, held.certificate.hosts) != (leaf.user, frozenset(leaf.hosts)):
        return "made for other names"
    return ""
