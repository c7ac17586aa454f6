"""Our certificates: what is made when, and that a change of authority never breaks a connection.

A model of the installation (Secrets, an API server, an extender that reads its files late, a
scheduler that reads whom to trust only at its start) is run through years, with the operator killed
between any two actions. Not covered: Secrets on an API server (e2e/test_certificates.py).
"""

import random
import ssl
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fairstow.kube import authority
from fairstow.kube.authority import Certificate
from fairstow.kube.certificates import (
    Action,
    Distribute,
    Held,
    HeldLeaf,
    Inject,
    Issue,
    Leaf,
    Lifetimes,
    MakeAuthority,
    MakeComingAuthority,
    Promote,
    Roll,
    Told,
    Trust,
    decide,
)

START = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
WEBHOOK = Leaf(secret="webhook", user="webhook", hosts=("webhook.fairstow.svc",))
EXTENDER = Leaf(secret="extender", user="extender", hosts=("extender.fairstow.svc",))
SCHEDULER = Leaf(secret="scheduler", user="scheduler")
WANTED = (WEBHOOK, EXTENDER, SCHEDULER)
SHORT = Lifetimes(authority=15 * DAY, leaf=3 * DAY)
PROGRAMS = ("webhook", "extender", "scheduler")
MOST_ROUNDS = 12


@dataclass
class Party:
    """A program: what it presents, and whom it trusts, as it last read them."""

    presents: str = ""
    trusts: frozenset[str] = frozenset()


@dataclass
class Installation:
    """What is stored, and what the programs have read of it."""

    held: Held = field(
        default_factory=lambda: Held(bundles={"hooks": frozenset()}, rollouts={"scheduler": ""})
    )
    now: datetime = START
    made: int = 0
    webhook: Party = field(default_factory=Party)
    extender: Party = field(default_factory=Party)
    scheduler: Party = field(default_factory=Party)

    def operate(self, actions_until_killed: int = 1_000) -> int:
        """Act until nothing is left to do, or until killed; return the number of actions."""
        done = 0
        for _ in range(MOST_ROUNDS):
            actions = decide(self.held, WANTED, self.lifetimes, self.now)
            if not actions:
                return done
            for action in actions:
                if done == actions_until_killed:
                    return done
                self.act(action)
                done += 1
        raise AssertionError(f"still acting after {MOST_ROUNDS} rounds")

    lifetimes: Lifetimes = SHORT

    def new(self, lifetime: timedelta, issuer: str = "", leaf: Leaf | None = None) -> Certificate:
        self.made += 1
        own = f"key-{self.made}"
        return Certificate(
            id=own,
            issuer=issuer or own,
            user=leaf.user if leaf else "ca",
            hosts=frozenset(leaf.hosts if leaf else ()),
            created=self.now,
            expires=self.now + lifetime,
        )

    def act(self, action: Action) -> None:
        held = self.held
        trusted = frozenset(each.id for each in held.trusted)
        known = {c.id: c for c in (*held.trusted, held.authority, held.coming) if c is not None}
        match action:
            case MakeAuthority():
                made = self.new(self.lifetimes.authority)
                self.held = replace(held, authority=made, coming=None, trusted=(made,), told=None)
            case MakeComingAuthority():
                made = self.new(self.lifetimes.authority)
                self.held = replace(held, coming=made, trusted=(*held.trusted, made), told=None)
            case Promote():
                self.held = replace(held, authority=held.coming, coming=None)
            case Trust(ids):
                kept = tuple(known[each] for each in sorted(ids))
                self.held = replace(held, trusted=kept, told=None)
            case Inject(name):
                self.held = replace(held, bundles={name: trusted})
            case Distribute(leaf):
                kept_leaf = replace(held.leaves[leaf.secret], trusted=trusted)
                self.held = replace(held, leaves={**held.leaves, leaf.secret: kept_leaf})
            case Roll(name, newest):
                self.held = replace(held, rollouts={name: newest})
                self.start_scheduler()
            case Told():
                self.held = replace(held, told=self.now)
            case Issue(leaf, _):
                assert held.authority is not None
                signed = self.new(self.lifetimes.leaf, held.authority.id, leaf)
                leaves = {**held.leaves, leaf.secret: HeldLeaf(certificate=signed, trusted=trusted)}
                self.held = replace(held, leaves=leaves)

    def stored(self, leaf: Leaf) -> Party:
        kept = self.held.leaves.get(leaf.secret, HeldLeaf(certificate=None))
        return Party(kept.certificate.issuer if kept.certificate else "", kept.trusted)

    def start_scheduler(self) -> None:
        self.scheduler = self.stored(SCHEDULER)

    def read_files(self, order: tuple[str, ...] = PROGRAMS) -> None:
        """Let each program read its files, one after the other; nothing breaks in between."""
        first = not self.scheduler.trusts
        for name in order:
            match name:
                case "webhook":
                    self.webhook = self.stored(WEBHOOK)
                case "extender":
                    self.extender = self.stored(EXTENDER)
                case "scheduler":
                    # Whom it trusts it read when it started.
                    self.scheduler.presents = self.stored(SCHEDULER).presents
            if not first:
                assert not self.broken(), f"after {name} has read its files"
        if first:
            self.start_scheduler()

    def broken(self) -> list[str]:
        """Return the connections that would fail now."""
        calls = {
            "API server → webhook": (self.held.bundles["hooks"], self.webhook.presents),
            "scheduler → extender": (self.scheduler.trusts, self.extender.presents),
            "extender ← scheduler": (self.extender.trusts, self.scheduler.presents),
        }
        return [name for name, (trusts, presents) in calls.items() if presents not in trusts]


def installed(lifetimes: Lifetimes = SHORT) -> Installation:
    installation = Installation()
    installation.lifetimes = lifetimes
    installation.operate()
    installation.read_files()
    assert not installation.broken()
    return installation


def test_a_first_run_makes_everything_and_a_second_nothing() -> None:
    installation = installed()
    assert installation.operate() == 0
    assert installation.held.leaves.keys() == {leaf.secret for leaf in WANTED}


def test_trust_is_stored_before_what_needs_it() -> None:
    order: list[Action] = []
    installation = Installation()
    while actions := decide(installation.held, WANTED, SHORT, START):
        order += actions
        for action in actions:
            installation.act(action)
    kinds = [type(each) for each in order]
    assert kinds == [MakeAuthority, Inject, Roll, Told, Issue, Issue, Issue]


def test_leaves_are_renewed_when_a_third_is_left() -> None:
    installation = installed()
    installation.now = START + SHORT.leaf * 0.65
    assert installation.operate() == 0
    installation.now = START + SHORT.leaf * 0.67
    actions = decide(installation.held, WANTED, SHORT, installation.now)
    assert actions == tuple(Issue(leaf, "expires soon") for leaf in WANTED)


def test_a_leaf_made_for_other_names_is_made_anew() -> None:
    renamed = replace(EXTENDER, hosts=("extender.elsewhere.svc",))
    wanted = (WEBHOOK, renamed, SCHEDULER)
    assert decide(installed().held, wanted, SHORT, START) == (
        Issue(renamed, "made for other names"),
    )


def test_a_deleted_leaf_alone_is_made_anew() -> None:
    installation = installed()
    leaves = {k: v for k, v in installation.held.leaves.items() if k != "webhook"}
    held = replace(installation.held, leaves=leaves)
    assert decide(held, WANTED, SHORT, START) == (Issue(WEBHOOK, "missing"),)


def test_a_lost_authority_is_replaced_and_everything_signed_anew_at_once() -> None:
    installation = installed()
    installation.held = replace(installation.held, authority=None, trusted=(), told=None)
    installation.operate()
    installation.webhook, installation.extender, installation.scheduler = map(
        installation.stored, WANTED
    )
    assert not installation.broken()
    assert len(installation.held.trusted) == 1


def test_webhooks_that_appear_later_are_told() -> None:
    installation = installed()
    held = replace(installation.held, bundles={"hooks": frozenset()})
    assert decide(held, WANTED, SHORT, START) == (Inject("hooks"),)


@pytest.mark.parametrize("seed", range(20))
def test_no_connection_breaks_with_the_operator_killed_anywhere(seed: int) -> None:
    chance, installation, signers, killed = random.Random(seed), installed(), set(), 0
    for _ in range(200):
        steps = (timedelta(minutes=10), timedelta(hours=2), timedelta(hours=9))
        installation.now += chance.choice(steps)
        survives = killed == 2 or chance.random() < 0.4
        installation.operate(1_000 if survives else chance.randrange(4))
        killed = 0 if survives else killed + 1
        assert not installation.broken(), "before files are read"
        # Everybody has read the files within the time that `settle` gives them.
        installation.now += chance.choice((timedelta(0), timedelta(minutes=30)))
        installation.read_files(tuple(chance.sample(PROGRAMS, 3)))
        assert installation.held.authority is not None
        signers.add(installation.held.authority.id)
        leaves = installation.held.leaves.values()
        assert all(c.certificate and c.certificate.expires > installation.now for c in leaves)
    assert len(signers) > 2


def test_authorities_follow_each_other_and_the_former_is_forgotten() -> None:
    installation = installed()
    signers = []
    for _ in range(24 * 40):
        installation.now += timedelta(hours=1)
        installation.operate()
        installation.read_files()
        assert not installation.broken()
        assert installation.held.authority is not None
        signers.append(installation.held.authority.id)
    assert len(set(signers)) >= 3
    assert len(installation.held.trusted) == 1


@dataclass(frozen=True)
class Files:
    certificate: Path
    key: Path


def test_what_is_made_works_for_tls_on_both_sides(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    ca = authority.new_authority("fairstow-ca", DAY, now)
    (tmp_path / "ca.crt").write_bytes(ca.certificate)
    sides = {}
    for name, hosts in (("server", ("extender.fairstow.svc",)), ("client", ())):
        pair = authority.issue(ca, f"fairstow-{name}", hosts, DAY, now)
        sides[name] = Files(tmp_path / f"{name}.crt", tmp_path / f"{name}.key")
        sides[name].certificate.write_bytes(pair.certificate)
        sides[name].key.write_bytes(pair.key)
    assert handshake(tmp_path, sides, "extender.fairstow.svc") == "fairstow-client"
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(tmp_path, sides, "webhook.fairstow.svc")


def handshake(folder: Path, sides: dict[str, Files], host: str) -> str:
    """Shake hands in memory; return the common name that the server sees."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.verify_mode = ssl.CERT_REQUIRED
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for name, context in (("server", server), ("client", client)):
        context.load_verify_locations(folder / "ca.crt")
        context.load_cert_chain(sides[name].certificate, sides[name].key)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(to_client, to_server, server_hostname=host),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    open_ends = list(ends)
    while open_ends:
        for end in list(open_ends):
            try:
                end.do_handshake()
                open_ends.remove(end)
            except ssl.SSLWantReadError:
                continue
    peer = ends[1].getpeercert()
    assert peer is not None
    subject = peer["subject"]
    assert isinstance(subject, tuple)
    return str(dict(pair for part in subject for pair in part)["commonName"])  # type: ignore[misc]


def test_what_is_made_is_read_back() -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    ca = authority.new_authority("fairstow-ca", 10 * DAY, now)
    pair = authority.issue(ca, "webhook", ("a.svc", "b.svc"), DAY, now)
    root = authority.read(ca.certificate, ca.key)
    leaf = authority.read(pair.certificate, pair.key)
    assert root is not None
    assert leaf is not None
    assert root.issuer == root.id == leaf.issuer
    assert (leaf.user, leaf.hosts) == ("webhook", frozenset({"a.svc", "b.svc"}))
    assert (leaf.created, leaf.expires) == (now, now + DAY)
    bundle = authority.read_bundle(ca.certificate + pair.certificate)
    assert [facts for facts, _ in bundle] == [root, leaf]
    assert [pem for _, pem in bundle] == [ca.certificate, pair.certificate]


@pytest.mark.parametrize("broken", ["certificate", "key", "swapped"])
def test_what_cannot_be_read_or_does_not_belong_together_is_nothing(broken: str) -> None:
    now = datetime.now(UTC)
    one, other = (authority.new_authority("ca", DAY, now) for _ in range(2))
    certificate = b"junk" if broken == "certificate" else one.certificate
    key = {"certificate": one.key, "key": b"junk", "swapped": other.key}[broken]
    assert authority.read(certificate, key) is None
    assert authority.read_bundle(b"junk") == ()
