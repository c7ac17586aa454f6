"""What the owner of a cache says: a YAML file with the fields of a SemanticCache's spec.

Read by `__main__` and again by `service` whenever the file changes; a file that can't be used
leaves the last one in force. Nothing a client sends changes any of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import msgspec
import yaml

from fairstow.cache_sidecar.accounts import Accounts, AccountsSpec
from fairstow.cluster.errors import InputError
from fairstow.semantic_cache import categories
from fairstow.semantic_cache.decision import Mode, Policy
from fairstow.semantic_cache.eligibility import Limits, Tier
from fairstow.semantic_cache.error_budget import Budget, Judge
from fairstow.semantic_cache.thresholds import Adaptation

Permille = Annotated[int, msgspec.Meta(ge=0, le=1000)]
Seconds = Annotated[float, msgspec.Meta(gt=0, le=366 * 86_400)]
Name = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
_EXAMPLE = "For example: {mode: Shadow, categories: [{name: default, thresholdPermille: 900}]}"

_ACCOUNTS = "Keys are those of: kubectl get --raw /openid/v1/jwks"
_LOAD = "For example: load: {idleSeconds: 0.5, overloadedSeconds: 5}, or load: {header: x-load}"


class Caching(StrEnum):
    """The farthest tier of a category."""

    SEMANTIC = "Semantic"
    EXACT = "Exact"
    OFF = "Off"


_TIERS = {Caching.SEMANTIC: Tier.SEMANTIC, Caching.EXACT: Tier.EXACT, Caching.OFF: Tier.BYPASS}


class _Part(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    pass


class AdaptationSpec(_Part, frozen=True):
    """How far load may relax a category."""

    max_relax_permille: Permille = 0
    ttl_factor_max: Annotated[float, msgspec.Meta(ge=1, le=100)] = 1.0


class CategorySpec(_Part, frozen=True):
    """One category; `mode` is the cache's where it is left out."""

    name: Name
    mode: Mode | None = None
    caching: Caching = Caching.SEMANTIC
    threshold_permille: Permille = 900
    floor_permille: Permille = 700
    ttl_seconds: Seconds = 3_600.0
    ttl_max_seconds: Seconds = 86_400.0
    quota_entries: Annotated[int, msgspec.Meta(ge=0)] = 10_000
    priority: int = 0
    keywords: tuple[str, ...] = ()
    code: bool = False
    adaptation: AdaptationSpec = AdaptationSpec()
    error_budget_permille: Annotated[int, msgspec.Meta(ge=1, le=500)] = 20
    calibration_signed: bool = False


class HeaderSpec(_Part, frozen=True):
    """A header whose values the owner maps to categories."""

    name: str
    mapping: Mapping[str, Name]


class LoadSpec(_Part, frozen=True):
    """How loaded the upstream is: as its answers' header says, else by its p95 to the first byte.

    Attributes:
        idle_seconds, overloaded_seconds: the p95 at which it is; both, or neither.
        header: with a number from 0 to 1; what it said counts for a minute.
    """

    idle_seconds: Seconds | None = None
    overloaded_seconds: Seconds | None = None
    header: str | None = None


class ReaskSpec(_Part, frozen=True):
    """How many hits are asked upstream again, to learn how many are wrong."""

    permille: Permille = 50
    per_minute: Annotated[int, msgspec.Meta(ge=0, le=6_000)] = 30


class JudgeSpec(_Part, frozen=True):
    """How often the judge of two answers errs: calls what is right wrong, misses what is wrong."""

    calls_right_wrong_permille: Annotated[int, msgspec.Meta(ge=0, lt=1000)] = 0
    misses_permille: Annotated[int, msgspec.Meta(ge=0, lt=1000)] = 0


class Configuration(_Part, frozen=True):
    """The file."""

    mode: Mode = Mode.SHADOW
    categories: Annotated[tuple[CategorySpec, ...], msgspec.Meta(min_length=1, max_length=64)] = (
        CategorySpec(name="default"),
    )
    header: HeaderSpec | None = None
    load: LoadSpec | None = None
    reask: ReaskSpec = ReaskSpec()
    judge: JudgeSpec = JudgeSpec()
    accounts: AccountsSpec | None = None
    lookup_deadline_seconds: Annotated[float, msgspec.Meta(gt=0, le=5)] = 0.05
    most_entries: Annotated[int, msgspec.Meta(gt=0, le=10_000_000)] = 100_000
    longest_body: Annotated[int, msgspec.Meta(gt=0, le=16 << 20)] = 1 << 20
    longest_answer: Annotated[int, msgspec.Meta(gt=0, le=16 << 20)] = 1 << 20


class Rules(msgspec.Struct, frozen=True):
    """A configuration in the words of the decision core."""

    said: Configuration
    policies: Mapping[str, Policy]
    categories: Mapping[str, categories.Category]
    specs: Mapping[str, CategorySpec]
    budgets: Mapping[str, Budget]
    limits: Limits = Limits()
    accounts: Accounts | None = None


def read(path: Path) -> Rules:
    """Read the file. Raises InputError, OSError."""
    return parse(path.read_text(), str(path))


def parse(text: str, source: str) -> Rules:
    """Return what a file says; `source` is how an error calls it. Raises InputError."""
    try:
        said = msgspec.convert(yaml.safe_load(text) or {}, Configuration)
    except (yaml.YAMLError, msgspec.ValidationError, RecursionError) as error:
        raise InputError(source, f"can't be used: {error}", _EXAMPLE) from error
    _check(said, source)
    try:
        accounts = Accounts(said.accounts) if said.accounts is not None else None
    except ValueError as error:
        raise InputError(f"{source}: accounts", f"can't be used: {error}", _ACCOUNTS) from error
    return Rules(
        said=said,
        policies={each.name: _policy(each, said.mode) for each in said.categories},
        categories={
            each.name: categories.Category(
                each.name,
                each.threshold_permille / 1_000,
                tuple(" ".join(word.casefold().split()) for word in each.keywords),
                each.code,
            )
            for each in said.categories
        },
        specs={each.name: each for each in said.categories},
        budgets={each.name: _budget(each, said.judge) for each in said.categories},
        accounts=accounts,
    )


def _check(said: Configuration, source: str) -> None:
    names = [each.name for each in said.categories]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(source, f"there are two categories {twice[0]!r}", "Leave one out.")
    if said.header is not None:
        unknown = sorted(set(said.header.mapping.values()) - set(names))
        if unknown:
            raise InputError(source, f"header.mapping names {unknown[0]!r}", f"Known: {names}.")
    for each in said.categories:
        if each.floor_permille > each.threshold_permille:
            raise InputError(
                f"{source}: category {each.name!r}",
                "floorPermille is over thresholdPermille",
                "The floor is where load may lower the threshold to.",
            )
        if each.ttl_seconds > each.ttl_max_seconds:
            raise InputError(
                f"{source}: category {each.name!r}",
                "ttlSeconds is over ttlMaxSeconds",
                "Raise ttlMaxSeconds.",
            )
    if said.load is not None:
        _check_load(said.load, source)


def _check_load(load: LoadSpec, source: str) -> None:
    idle, overloaded = load.idle_seconds, load.overloaded_seconds
    if (idle is None) != (overloaded is None) or (idle is None and load.header is None):
        raise InputError(source, "load needs a header, or two times", _LOAD)
    if idle is not None and overloaded is not None and overloaded <= idle:
        raise InputError(source, "load.overloadedSeconds isn't over idleSeconds", _LOAD)


def _budget(spec: CategorySpec, judge: JudgeSpec) -> Budget:
    """Return a category's: at its threshold, where load may lower it to, and higher."""
    relaxed = max(spec.floor_permille, spec.threshold_permille - spec.adaptation.max_relax_permille)
    grid = {relaxed, spec.threshold_permille, (spec.threshold_permille + 1_000) // 2}
    return Budget(
        share=spec.error_budget_permille / 1_000,
        grid=tuple(each / 1_000 for each in sorted(grid)),
        judge=Judge(judge.calls_right_wrong_permille / 1_000, judge.misses_permille / 1_000),
    )


def _policy(spec: CategorySpec, mode: Mode) -> Policy:
    # Off is off: a category can't switch on what is off for the whole cache.
    own = spec.mode if spec.mode is not None and mode is not Mode.OFF else mode
    return Policy(
        category=spec.name,
        mode=own,
        caching=_TIERS[spec.caching],
        threshold=spec.threshold_permille / 1_000,
        floor=spec.floor_permille / 1_000,
        ttl=spec.ttl_seconds,
        ttl_max=spec.ttl_max_seconds,
        adaptation=Adaptation(
            spec.adaptation.max_relax_permille / 1_000, spec.adaptation.ttl_factor_max
        ),
        budget_signed=spec.calibration_signed,
    )
