"""The plan's shape: from untrusted JSON to typed values, each fault a violation of its own."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

from fairstow.packing.checker.fields import CheckError, Fields
from fairstow.packing.checker.moments import read_moment, read_span
from fairstow.packing.checker.quantity import in_scheduler_units, read_amounts
from fairstow.packing.checker.verdict import Report, Rule

_P = ParamSpec("_P")
_T = TypeVar("_T")

API_VERSION = "fairstow.dev/v1alpha1"
MAX_ENTRIES = 2_000
_HASH = re.compile(r"[0-9a-f]{32}")
_WHAT_IF = "fairstow.dev/what-if"
_DURATION = re.compile(r"(\d+(\.\d+)?(ns|us|µs|ms|s|m|h))+")
_CHOICES = {
    "rules": ("Product", "Paper"),
    "order": ("PlaceFirst", "TierByTier"),
    "budgets": ("Known", "Unknown"),
}


@dataclass(frozen=True)
class PodRef:
    """A pod by name and uid."""

    namespace: str
    name: str
    uid: str

    @property
    def key(self) -> str:
        """Return "namespace/name"."""
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True)
class Change:
    """What the plan does to one pod: role "placement", "move" or "eviction"; nodes or "".

    `requests`: the room that is kept for it, in the scheduler's units; none of an eviction.
    """

    role: str
    pod: PodRef
    source: str
    target: str
    owner: str
    requests: Mapping[str, int]


@dataclass(frozen=True)
class Bind:
    """A pod that arrives on a node."""

    pod: PodRef
    node: str


@dataclass(frozen=True)
class Step:
    """All of `evict` go down together, then each of `bind` happens in order."""

    evict: tuple[PodRef, ...]
    bind: tuple[Bind, ...]


@dataclass(frozen=True)
class Tier:
    """The plan's claims about one priority, in pods."""

    priority: int
    placed_before: int
    placed_after: int
    pending: int
    bound: int
    proof: str
    gap_pods: int


@dataclass(frozen=True)
class BlockClaim:
    """The plan's claims about one size of free blocks."""

    resource: str
    size: int
    before: int
    after: int
    bound: int
    proof: str
    gap: int


@dataclass(frozen=True)
class Plan:
    """What of a plan can be checked; `taken_at` in seconds since 1970, `minimum_age` in ms.

    `what_if`: it supposes pods that nobody has submitted, as its name or annotation says.
    """

    paper: bool
    budgets_known: bool
    what_if: bool
    approved: bool
    defragments: bool
    cost: int
    taken_at: int | None
    minimum_age: int
    tiers: tuple[Tier, ...]
    blocks: tuple[BlockClaim, ...]
    changes: tuple[Change, ...]
    steps: tuple[Step, ...]


def read_plan(raw: object, report: Report) -> Plan | None:
    """Return the plan, or None after reporting everything that is wrong with its shape."""
    return _Reader(report).plan(raw)


class _Reader:
    """Reads a plan part by part; a part that can't be read is reported and left out."""

    def __init__(self, report: Report) -> None:
        self._report = report

    def plan(self, raw: object) -> Plan | None:
        """Return the plan if nothing had to be reported."""
        root = self._try(Fields.of, "plan", "", raw)
        spec = self._try(_present, root, "spec") if root else None
        if root is None or spec is None:
            return None
        self._envelope(root, spec)
        tiers = self._list(spec, "tiers", _read_tier)
        blocks = self._list(spec, "blocks", _read_block)
        placements = self._list(spec, "placements", _read_placement)
        moves = self._list(spec, "moves", _read_move)
        evictions = self._list(spec, "evictions", _read_eviction)
        steps = self._list(spec, "steps", self._step)
        if self._report.violations:
            return None
        return Plan(
            paper=spec.text("rules") == "Paper",
            budgets_known=spec.text("budgets") == "Known",
            what_if=_supposes(root.map("metadata")),
            approved=spec.map("approval").text("decision") == "Approved",
            defragments=spec.text("goal") == "Defragment",
            cost=spec.integer("cost"),
            taken_at=read_moment(spec, "takenAt"),
            minimum_age=read_span(spec, "minimumAge"),
            tiers=tiers,
            blocks=blocks,
            changes=placements + moves + evictions,
            steps=steps,
        )

    def _envelope(self, root: Fields, spec: Fields) -> None:
        """Everything that isn't a list of pods, steps or tiers."""
        self._try(_choice, root, "apiVersion", (API_VERSION,))
        self._try(_choice, root, "kind", ("PackingPlan",))
        if metadata := self._try(root.map, "metadata"):
            self._try(_name, metadata, "name")
            self._try(_supposes, metadata)
        for key in ("seed", "cost"):
            self._try(_count, spec, key)
        if spec.has("effort"):
            self._try(_count, spec, "effort")
        for key, allowed in _CHOICES.items():
            self._try(_choice, spec, key, allowed)
        if spec.has("goal"):
            self._try(_choice, spec, "goal", ("Place", "Defragment"))
        self._try(_pattern, spec, "snapshotHash", _HASH, "32 hexadecimal digits")
        self._try(_pattern, spec, "window", _DURATION, "a duration such as 10s")
        self._try(read_moment, spec, "takenAt")
        self._try(read_span, spec, "minimumAge")
        self._try(spec.texts, "notConsidered")
        if spec.has("approval") and (approval := self._try(spec.map, "approval")):
            self._try(_choice, approval, "decision", ("Approved", "Rejected"))

    def _step(self, fields: Fields) -> Step:
        evict = self._list(fields, "evict", _read_ref)
        bind = self._list(fields, "bind", lambda each: Bind(_read_ref(each), _name(each, "node")))
        if not fields.value.get("evict") and not fields.value.get("bind"):
            raise CheckError(f"{fields.where}: {fields.path} neither evicts nor binds a pod")
        return Step(evict, bind)

    def _list(self, parent: Fields, key: str, read: Callable[[Fields], _T]) -> tuple[_T, ...]:
        found = []
        for path, each in self._try(_bounded, parent, key) or ():
            fields = self._try(Fields.of, "plan", path, each)
            entry = self._try(read, fields) if fields else None
            if entry is not None:
                found.append(entry)
        return tuple(found)

    def _try(self, read: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T | None:
        try:
            return read(*args, **kwargs)
        except CheckError as error:
            self._report.add(Rule.PLAN_SHAPE, str(error))
            return None


def _present(parent: Fields, key: str) -> Fields:
    parent.require(key)
    return parent.map(key)


def _bounded(parent: Fields, key: str) -> tuple[tuple[str, object], ...]:
    """Return a list's elements with their paths; an absent list is an empty one, as in the API."""
    entries = tuple(parent.elements(key))
    if len(entries) > MAX_ENTRIES:
        many = f"has {len(entries)} entries, {MAX_ENTRIES} are allowed"
        raise CheckError(f"{parent.where}: {parent.at(key)} {many}")
    return entries


def _count(parent: Fields, key: str) -> int:
    parent.require(key)
    value = parent.integer(key)
    if value < 0:
        raise CheckError(f"{parent.where}: {parent.at(key)} must not be negative, it is {value}")
    return value


def _choice(parent: Fields, key: str, allowed: tuple[str, ...]) -> str:
    parent.require(key)
    value = parent.text(key)
    if value not in allowed:
        raise CheckError(f"{parent.where}: {parent.at(key)} must be {' or '.join(allowed)}")
    return value


def _pattern(parent: Fields, key: str, pattern: re.Pattern[str], wanted: str) -> None:
    parent.require(key)
    if not pattern.fullmatch(parent.text(key)):
        raise CheckError(f"{parent.where}: {parent.at(key)} must be {wanted}")


def _name(parent: Fields, key: str) -> str:
    parent.require(key)
    value = parent.text(key)
    if not value:
        raise CheckError(f"{parent.where}: {parent.at(key)} is empty")
    return value


def _supposes(metadata: Fields) -> bool:
    """Whether a plan is marked as one about pods that nobody has submitted."""
    marked = _WHAT_IF in metadata.text_map("annotations")
    return marked or metadata.text("name").startswith("what-if-")


def _read_ref(fields: Fields) -> PodRef:
    return PodRef(_name(fields, "namespace"), _name(fields, "name"), _name(fields, "uid"))


def _read_placement(fields: Fields) -> Change:
    return _read_change(fields, "placement", target=_name(fields, "node"))


def _read_move(fields: Fields) -> Change:
    source, target = _name(fields, "from"), _name(fields, "to")
    return _read_change(fields, "move", source=source, target=target)


def _read_eviction(fields: Fields) -> Change:
    return _read_change(fields, "eviction", source=_name(fields, "from"))


def _read_change(fields: Fields, role: str, *, source: str = "", target: str = "") -> Change:
    requests = in_scheduler_units(read_amounts(fields, "requests"))
    return Change(role, _read_ref(fields), source, target, fields.text("owner"), requests)


def _read_tier(fields: Fields) -> Tier:
    fields.require("priority")
    return Tier(
        priority=fields.integer("priority"),
        placed_before=_count(fields, "placedBefore"),
        placed_after=_count(fields, "placedAfter"),
        pending=_count(fields, "pending"),
        bound=_count(fields, "bound"),
        proof=_choice(fields, "proof", ("Optimal", "Gap")),
        gap_pods=_count(fields, "gapPods"),
    )


def _read_block(fields: Fields) -> BlockClaim:
    size = _count(fields, "size")
    if not size:
        raise CheckError(f"{fields.where}: {fields.at('size')} must be positive")
    return BlockClaim(
        resource=_name(fields, "resource"),
        size=size,
        before=_count(fields, "before"),
        after=_count(fields, "after"),
        bound=_count(fields, "bound"),
        proof=_choice(fields, "proof", ("Optimal", "Gap")),
        gap=_count(fields, "gapBlocks"),
    )
