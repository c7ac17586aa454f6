"""What a SemanticCache says of one category, and what its status says of it.

Names and bounds are those of the sidecar's file (fairstow/cache_sidecar/configuration.py), with
durations as text.
"""

from typing import Annotated, Literal

from pydantic import Field

from fairstow.api.fields import (
    BigCount,
    Count,
    DurationText,
    Flag,
    Permille,
    duration,
    duration_milliseconds,
)
from fairstow.api.model import Model
from fairstow.api.rules import Rule

CategoryName = Annotated[
    str, Field(min_length=1, max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
]
Mode = Literal["Off", "Shadow", "Enforce"]
_Keyword = Annotated[str, Field(min_length=1, max_length=64, description="A word or phrase.")]


class Adaptation(Model):
    """How far a loaded upstream relaxes a category; never under what the error budget allows."""

    max_relax_permille: Annotated[
        Permille, Field(description="By how much the threshold may fall, to floorPermille at most.")
    ] = 0
    ttl_factor_max: Annotated[
        Count, Field(ge=1, le=100, description="By how much ttl may grow, to ttlMax at most.")
    ] = 1


class Category(Model):
    """One kind of question: how alike two have to be, and how long an answer is good."""

    validations = (
        Rule(
            # The API server judges the default category before it fills in its fields.
            cel="!has(self.floorPermille) || !has(self.thresholdPermille)"
            " || self.floorPermille <= self.thresholdPermille",
            message="floorPermille is at most thresholdPermille: load lowers the threshold to it",
            holds=lambda self: self.floor_permille <= self.threshold_permille,
        ),
        Rule(
            cel="!has(self.ttl) || !has(self.ttlMax)"
            " || duration(self.ttl) <= duration(self.ttlMax)",
            message="ttl is at most ttlMax",
            holds=lambda self: (
                duration_milliseconds(self.ttl) <= duration_milliseconds(self.ttl_max)
            ),
        ),
    )

    name: Annotated[CategoryName, Field(description="Its name, as in the header x-cache-category.")]
    mode: Annotated[
        Mode | None,
        Field(description="As the cache's, for this category. Left out: the cache's."),
    ] = None
    caching: Annotated[
        Literal["Semantic", "Exact", "Off"],
        Field(
            description="Semantic: like questions share an answer. Exact: only equal requests do. "
            "Off: nothing is kept."
        ),
    ] = "Semantic"
    threshold_permille: Annotated[
        Permille,
        Field(description="Least cosine similarity of two questions, in thousandths."),
    ] = 900
    floor_permille: Annotated[
        Permille, Field(description="Lowest threshold under load, in thousandths.")
    ] = 700
    ttl: Annotated[
        DurationText,
        duration("ttl", "1s", "8760h"),
        Field(description="How long an answer is served, counted from when it was stored."),
    ] = "1h"
    ttl_max: Annotated[
        DurationText,
        duration("ttlMax", "1s", "8760h"),
        Field(description="How long it is served at most, under load."),
    ] = "24h"
    quota_entries: Annotated[
        Count, Field(le=10_000_000, description="Most entries of one tenant in this category.")
    ] = 10_000
    priority: Annotated[
        Count, Field(le=1_000, description="Of a full cache, lower ones lose entries first.")
    ] = 0
    keywords: Annotated[
        tuple[_Keyword, ...],
        Field(max_length=64, description="Words by which a question belongs here."),
    ] = ()
    code: Annotated[Flag, Field(description="Questions with code in them belong here.")] = False
    adaptation: Annotated[
        Adaptation, Field(description="How far load relaxes threshold and ttl.")
    ] = Adaptation()
    error_budget_permille: Annotated[
        Count,
        Field(
            ge=1, le=500, description="Wrong answers among semantic hits that are borne, at most."
        ),
    ] = 20
    calibration_signed: Annotated[
        Flag,
        Field(
            description="The owner has tried the threshold by `fairstow cache calibrate`. Until "
            "then, or until enough wrong hits were counted, Enforce acts as Shadow."
        ),
    ] = False


class CategoryStatus(Model):
    """One category as its sidecars last reported it, all of them together."""

    name: Annotated[CategoryName, Field(description="The category.")]
    mode: Annotated[Mode, Field(description="What the sidecars do with it.")]
    semantic: Annotated[
        Literal["On", "Off", "Unknown"],
        Field(
            description="Whether the semantic tier pays. Off: it has switched itself off in most "
            "sidecars, and goes on probing. Unknown: nothing was measured."
        ),
    ]
    message: Annotated[
        str,
        Field(
            max_length=512,
            description="Why, such as: Off: hit rate 1.2 % under break-even 3.4 %.",
        ),
    ]
    entries: Annotated[Count, Field(description="Answers that are kept.")] = 0
    quota_entries: Annotated[Count, Field(description="Most for one tenant.")] = 0
    fullest_tenant: Annotated[
        Count, Field(description="Entries of the tenant that has most, in one sidecar.")
    ] = 0
    lookups: Annotated[BigCount, Field(description="Recent semantic look-ups.")] = 0
    hit_permille: Annotated[
        Permille | None,
        Field(description="Share of those that hit, or in Shadow would have, in thousandths."),
    ] = None
    break_even_permille: Annotated[
        Permille | None,
        Field(description="Hit rate from which looking up pays, in thousandths."),
    ] = None
    labels: Annotated[
        Count, Field(description="Hits that were asked upstream again and compared.")
    ] = 0
    wrong: Annotated[Count, Field(description="Of those, the ones with another answer.")] = 0
    budget: Annotated[
        str, Field(max_length=256, description="What they say of the error budget.")
    ] = ""
    threshold_permille: Annotated[
        Permille | None, Field(description="The threshold now, under load, in thousandths.")
    ] = None
