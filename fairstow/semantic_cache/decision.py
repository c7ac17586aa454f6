"""May this request be answered from the cache, and with which entry: look-up in, verdict out.

The one decision of the cache. The sidecar asks it with what it found and does what it says; `cache
explain` asks with the same facts and shows the reasons; nobody else compares similarity with a
threshold. In order: may the request be looked up at all (`eligibility`), an exact entry, the
category's mode and economics, candidates by similarity: threshold under load, age, fingerprint,
guard and verifier. The first candidate that nothing speaks against is served, or, in Shadow, would
have been. Every step leaves a reason. Clock and load come in; nothing is read here.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from fairstow.semantic_cache.eligibility import Eligibility, Tier
from fairstow.semantic_cache.equivalence import compare
from fairstow.semantic_cache.thresholds import Adaptation, lifetime, threshold


class Mode(StrEnum):
    """What a category does with a hit: nothing is looked up, it is only counted, it is served."""

    OFF = "Off"
    SHADOW = "Shadow"
    ENFORCE = "Enforce"


class Outcome(StrEnum):
    """What happens to the request; the value is that of the header `x-cache`."""

    HIT_EXACT = "hit-exact"
    HIT_SEMANTIC = "hit-semantic"
    MISS = "miss"
    BYPASS = "bypass"


class Policy(msgspec.Struct, frozen=True):
    """A category's, as its SemanticCache says; thresholds are cosines, times are seconds.

    Attributes:
        caching: the farthest tier.
        budget_signed: the owner signed a calibration, so that no labels are needed first.
    """

    category: str
    mode: Mode = Mode.SHADOW
    caching: Tier = Tier.SEMANTIC
    threshold: float = 0.9
    floor: float = 0.7
    ttl: float = 3_600.0
    ttl_max: float = 86_400.0
    adaptation: Adaptation = Adaptation()
    budget_signed: bool = False


def tightened(policy: Policy, other: Policy) -> Policy:
    """Return a category's policy where the client says that another one would fit, too.

    It is the stricter of both in everything, and stays the category's: so do quota and labels.
    """
    relax = min(policy.adaptation.relax, other.adaptation.relax)
    factor = min(policy.adaptation.ttl_factor, other.adaptation.ttl_factor)
    return msgspec.structs.replace(
        policy,
        mode=min(policy.mode, other.mode, key=list(Mode).index),
        caching=min(policy.caching, other.caching),
        threshold=max(policy.threshold, other.threshold),
        floor=max(policy.floor, other.floor),
        ttl=min(policy.ttl, other.ttl),
        ttl_max=min(policy.ttl_max, other.ttl_max),
        adaptation=Adaptation(relax, factor),
        budget_signed=policy.budget_signed and other.budget_signed,
    )


class Candidate(msgspec.Struct, frozen=True):
    """An entry that was found; `similarity` is None for one with the same key.

    Attributes:
        share: of the lifetime that this entry gets (`thresholds.jittered`).
    """

    id: str
    namespace: str
    fingerprint: str
    question: str
    stored: float
    similarity: float | None = None
    share: float = 1.0


class Lookup(msgspec.Struct, frozen=True):
    """All that the decision looks at.

    Attributes:
        namespace: None where nobody is known.
        fingerprint, question: of the request.
        exact: the entry with the request's key.
        near: entries of the same partition by similarity.
        client_threshold: what the client asked for; only tightens.
        load: λ_eff of `thresholds`.
        budget_threshold: τ_budget of `error_budget`, None where nothing is shown yet.
        budget_spent: labels show that the error budget isn't kept, whatever was signed.
        economical: whether the category's semantic tier pays (`economics`).
    """

    namespace: str | None
    eligibility: Eligibility
    policy: Policy
    now: float
    fingerprint: str = ""
    question: str | None = None
    exact: Candidate | None = None
    near: tuple[Candidate, ...] = ()
    client_threshold: float | None = None
    load: float = 0.0
    budget_threshold: float | None = None
    budget_spent: bool = False
    economical: bool = True


class Reason(msgspec.Struct, frozen=True):
    """One step of the decision; `entry` is empty where it is about none."""

    rule: str
    detail: str
    entry: str = ""


class Verdict(msgspec.Struct, frozen=True):
    """What to do.

    Attributes:
        entry: the one served, or the one that Shadow would have served.
        shadow: the request is forwarded, but would have been a hit.
        threshold: τ_eff, None where no similarity was compared.
        store: whether the answer may be stored after a miss.
    """

    outcome: Outcome
    category: str
    entry: str | None = None
    shadow: bool = False
    similarity: float | None = None
    threshold: float | None = None
    age: float | None = None
    store: bool = False
    reasons: tuple[Reason, ...] = ()


def decide(lookup: Lookup) -> Verdict:
    """Return what becomes of a request."""
    policy, may = lookup.policy, lookup.eligibility
    if lookup.namespace is None:
        return _none(lookup, Reason("identity", "nobody is known to ask"), store=False)
    if policy.mode is Mode.OFF or policy.caching is Tier.BYPASS:
        return _none(lookup, Reason("category", "caching is off"), store=False)
    if may.tier is Tier.BYPASS:
        return _none(lookup, *(Reason("request", why) for why in may.reasons), store=may.store)
    reasons: list[Reason] = []
    if lookup.exact is not None:
        age = _age(lookup.exact, lookup, reasons)
        if age is not None and lookup.exact.namespace == lookup.namespace:
            reasons.append(Reason("exact", "the same request", lookup.exact.id))
            shadow = policy.mode is Mode.SHADOW
            if shadow:
                reasons.append(Reason("shadow", "the category's mode"))
            return Verdict(
                Outcome.MISS if shadow else Outcome.HIT_EXACT,
                policy.category, lookup.exact.id, shadow, age=age, reasons=tuple(reasons),
            )  # fmt: skip
    return _semantic(lookup, reasons)


def _semantic(lookup: Lookup, reasons: list[Reason]) -> Verdict:
    policy, may = lookup.policy, lookup.eligibility
    miss = Verdict(Outcome.MISS, policy.category, store=may.store)
    if may.tier < Tier.SEMANTIC or policy.caching < Tier.SEMANTIC or lookup.question is None:
        why = may.reasons or ("the category's caching is exact",)
        return _with(miss, *reasons, *(Reason("exact only", each) for each in why))
    shadow = shadowed(lookup, reasons)
    at = threshold(
        policy.threshold,
        floor=policy.floor,
        budget=lookup.budget_threshold or -1.0,
        adaptation=policy.adaptation,
        load=lookup.load,
        client=lookup.client_threshold,
    )
    for candidate in sorted(lookup.near, key=lambda each: -_similarity(each)):
        similarity = _similarity(candidate)
        age = _fits(candidate, lookup, at, reasons)
        if age is None:
            continue
        pair = compare(lookup.question, candidate.question, similarity, namespace=lookup.namespace)
        if pair.same:
            passed = Reason("verifier", f"same answer with {pair.probability:.2f}", candidate.id)
            return Verdict(
                Outcome.MISS if shadow else Outcome.HIT_SEMANTIC,
                policy.category, candidate.id, shadow, similarity, at, age,
                store=shadow and may.store, reasons=(*reasons, passed),
            )  # fmt: skip
        for objection in pair.objections:
            detail = f"{objection.rule}: {objection.a!r} / {objection.b!r}"
            reasons.append(Reason("guard", detail, candidate.id))
        if not pair.objections:
            detail = f"same answer with {pair.probability:.2f} only"
            reasons.append(Reason("verifier", detail, candidate.id))
    nearest = max(map(_similarity, lookup.near), default=None)
    return msgspec.structs.replace(
        _with(miss, *reasons), similarity=nearest, threshold=at
    )  # fmt: skip


def shadowed(lookup: Lookup, reasons: list[Reason]) -> bool:
    """Whether a hit of the semantic tier is only counted; the reason is added."""
    if lookup.policy.mode is Mode.SHADOW:
        reasons.append(Reason("shadow", "the category's mode"))
    elif not lookup.economical:
        reasons.append(Reason("shadow", "the hit rate is under break-even"))
    elif lookup.budget_spent:
        reasons.append(Reason("shadow", "labels show that the error budget isn't kept"))
    elif lookup.budget_threshold is None and not lookup.policy.budget_signed:
        reasons.append(Reason("shadow", "too few labels show that the error budget is kept"))
    else:
        return False
    return True


def _fits(candidate: Candidate, lookup: Lookup, at: float, reasons: list[Reason]) -> float | None:
    """Return a candidate's age if nothing but its text can speak against it."""
    if candidate.namespace != lookup.namespace:
        reasons.append(Reason("identity", "another namespace"))  # its id is nobody's business
    elif candidate.fingerprint != lookup.fingerprint:
        reasons.append(Reason("fingerprint", "another context", candidate.id))
    elif not _similarity(candidate) >= at:
        detail = f"similarity {_similarity(candidate):.3f} is under {at:.3f}"
        reasons.append(Reason("threshold", detail, candidate.id))
    else:
        return _age(candidate, lookup, reasons)
    return None


def _age(candidate: Candidate, lookup: Lookup, reasons: list[Reason]) -> float | None:
    """Return how old an entry is, None if that is too old; one from the future is."""
    policy = lookup.policy
    most = lifetime(
        policy.ttl, longest=policy.ttl_max, adaptation=policy.adaptation, load=lookup.load
    )
    most *= candidate.share
    if (asked := lookup.eligibility.max_age) is not None:
        most = min(most, asked)
    age = lookup.now - candidate.stored
    if 0 <= age <= most:
        return age
    reasons.append(Reason("age", f"{age:.0f} s old, at most {most:.0f} s", candidate.id))
    return None


def _similarity(candidate: Candidate) -> float:
    found = candidate.similarity
    return found if found is not None and found == found else -1.0  # noqa: PLR0124 - NaN


def _none(lookup: Lookup, *reasons: Reason, store: bool) -> Verdict:
    return Verdict(Outcome.BYPASS, lookup.policy.category, store=store, reasons=reasons)


def _with(verdict: Verdict, *reasons: Reason) -> Verdict:
    return msgspec.structs.replace(verdict, reasons=reasons)
