"""How many served hits are wrong: a bound that holds at every moment, and an alarm for drift.

A served (or, in Shadow, would-be) hit is asked again upstream with a probability chosen before
anything is known about it, so that the labelled hits are a sample of all. A label is 1 where the
judge finds the answers different. Let k of n labels be 1, each with probability θ. For a Beta(a, b)
mixture (Robbins 1970)

    M_n(θ) = ∫ q^k (1−q)^(n−k) dBeta(q) / (θ^k (1−θ)^(n−k))

is a martingale with mean 1 under θ, so by Ville's inequality P[∃ n: M_n(θ) ≥ 1/α] ≤ α, and

    U_n = sup { θ : M_n(θ) < 1/α }       bounds θ at all n at once, with confidence 1 − α:

one may look after every label and stop when one likes. For k = 0 it takes 187 labels to show 2 %
at 95 %, against 149 if n were fixed. By the same inequality θ > budget is shown where the budget is
under k/n and M_n(budget) ≥ 1/α. α is divided over the grid of thresholds, as all are looked
at. The judge errs: it calls a right hit wrong with probability f, a wrong one right with m, so
θ_judged = θ(1−m) + (1−θ)f and the bound is (U − f)/(1 − m − f).

All this is for a θ that stays. Labels are counted in windows of `WINDOW`; a new one starts over,
and until it holds enough the last one's bound stands. Drift is watched by the e-detector of Shin,
Ramdas and Rinaldo (2023, Shiryaev–Roberts form): with L the likelihood ratio of a rate of
`WORSE`·budget to the budget, R ← (R + 1)·L, alarm at R ≥ c, upon which all is forgotten and the
category is back in Shadow, a signed calibration or not. While θ ≤ budget the mean number of labels
to a false alarm is at least c; after a rise to rate r the delay is about log c / E_r[log L] labels.
Called by who labels hits; `decision` is told the threshold.
"""

from __future__ import annotations

import math

import msgspec

WINDOW = 2_000
"""Labels."""
WORSE = 4.0
FALSE_ALARM = 100_000.0
"""c: labels between false alarms, at least."""
ENOUGH = 5.0
"""Wrong hits that a window would hold at the budget, from which it speaks for itself."""
_A, _B = 0.5, 50.0
_STEPS = 60


class Judge(msgspec.Struct, frozen=True):
    """How often the judge of labels errs."""

    calls_right_wrong: float = 0.0
    misses: float = 0.0


class Budget(msgspec.Struct, frozen=True):
    """What an owner allows: wrong hits per served hit, with which confidence."""

    share: float = 0.02
    confidence: float = 0.95
    grid: tuple[float, ...] = (0.8, 0.85, 0.9, 0.95)
    judge: Judge = Judge()


class Labels(msgspec.Struct, frozen=True):
    """What is known at one threshold.

    Attributes:
        hits, wrong: labels of this window.
        bound: the last full window's, 1 before there is one.
        drift: R of the detector. alarmed: it has been at c, and nothing better was shown since.
    """

    hits: int = 0
    wrong: int = 0
    bound: float = 1.0
    drift: float = 0.0
    alarmed: bool = False


class Evidence(msgspec.Struct, frozen=True):
    """Labels for each threshold of the grid; a hit counts for all that it reaches."""

    labels: tuple[Labels, ...]

    @classmethod
    def none(cls, budget: Budget) -> Evidence:
        """Return what is known before the first label."""
        return cls(tuple(Labels() for _ in budget.grid))


def label(
    evidence: Evidence, budget: Budget, similarity: float, wrong: bool, *, at: float = -1.0
) -> Evidence:
    """Return the evidence after one more label.

    `at`: the threshold that the hit was found with; it says nothing about lower ones, whose other
    hits weren't seen.
    """
    return Evidence(
        tuple(
            _count(labels, budget, wrong) if similarity >= threshold >= at else labels
            for threshold, labels in zip(budget.grid, evidence.labels, strict=True)
        )
    )


def bounds(evidence: Evidence, budget: Budget) -> tuple[float, ...]:
    """Return for each threshold the most that may be wrong, all at once with the confidence."""
    return tuple(_bound(labels, budget) for labels in evidence.labels)


def least_threshold(evidence: Evidence, budget: Budget) -> float | None:
    """Return τ_budget: the lowest that is shown to keep the budget; None: stay in Shadow."""
    known = zip(budget.grid, evidence.labels, strict=True)
    return min((at for at, labels in known if _keeps(labels, budget)), default=None)


def unrefuted(evidence: Evidence, budget: Budget) -> float | None:
    """Return the lowest threshold over all that are shown to break the budget; None: all are.

    For a category that is served on its owner's word: the word holds until labels say otherwise.
    """
    known = list(zip(budget.grid, evidence.labels, strict=True))
    broken = max((at for at, labels in known if _broken(labels, budget)), default=-1.0)
    return min((at for at in budget.grid if at > broken), default=None)


def may_reask(load: float, asked_lately: int, most: int) -> bool:
    """Whether re-asks are on at all; the coin is thrown by the caller, with a constant chance."""
    return load <= 0.5 and asked_lately < most


def upper(hits: int, wrong: int, alpha: float) -> float:
    """Return U_n for k wrong of n hits."""
    if not hits:
        return 1.0
    mixture = _log_beta(_A + wrong, _B + hits - wrong) - _log_beta(_A, _B)
    limit = mixture + math.log(alpha)  # θ is inside while k log θ + (n−k) log(1−θ) > limit
    low, high = max(wrong / hits, 1e-12), 1.0
    right = hits - wrong
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if middle == 1.0:  # rounded, where nearly all are wrong
            break
        inside = wrong * math.log(middle) + (right * math.log1p(-middle) if right else 0) > limit
        low, high = (middle, high) if inside else (low, middle)
    return high


def _bound(labels: Labels, budget: Budget) -> float:
    now = _true(upper(labels.hits, labels.wrong, _alpha(budget)), budget.judge)
    return now if labels.hits * budget.share >= ENOUGH else min(labels.bound, now)


def _keeps(labels: Labels, budget: Budget) -> bool:
    """Whether `_bound` is within the budget, without solving for it: M at the budget is 1/α."""
    if labels.hits * budget.share < ENOUGH and labels.bound <= budget.share:
        return True
    judge, right = budget.judge, labels.hits - labels.wrong
    room = 1 - judge.misses - judge.calls_right_wrong
    limit = budget.share * room + judge.calls_right_wrong
    if room <= 0 or not labels.hits or not labels.wrong / labels.hits < limit < 1:
        return False
    mixture = _log_beta(_A + labels.wrong, _B + right) - _log_beta(_A, _B)
    likelihood = labels.wrong * math.log(limit) + right * math.log1p(-limit)
    return mixture - likelihood >= -math.log(_alpha(budget))


def _broken(labels: Labels, budget: Budget) -> bool:
    """Whether it is shown that more than the budget is wrong, or it became so."""
    if _keeps(labels, budget):
        return False
    judge, right = budget.judge, labels.hits - labels.wrong
    limit = budget.share * (1 - judge.misses) + (1 - budget.share) * judge.calls_right_wrong
    if labels.alarmed or not labels.hits or not 0 < limit < labels.wrong / labels.hits:
        return labels.alarmed
    mixture = _log_beta(_A + labels.wrong, _B + right) - _log_beta(_A, _B)
    likelihood = labels.wrong * math.log(limit) + right * math.log1p(-limit)
    return mixture - likelihood >= -math.log(_alpha(budget))


def _alpha(budget: Budget) -> float:
    """Return the error of one bound: all thresholds are looked at, each in two windows at most."""
    return (1 - budget.confidence) / len(budget.grid) / 2


def _count(labels: Labels, budget: Budget, wrong: bool) -> Labels:
    hits, bad = labels.hits + 1, labels.wrong + wrong
    drift = (labels.drift + 1) * _ratio(budget, wrong)
    if drift >= FALSE_ALARM:
        return Labels(alarmed=True)  # what was known is of another time
    counted = Labels(hits, bad, labels.bound, drift, labels.alarmed)
    alarmed = labels.alarmed and not _keeps(counted, budget)
    if hits < WINDOW:
        return Labels(hits, bad, labels.bound, drift, alarmed)
    bound = _true(upper(hits, bad, _alpha(budget)), budget.judge)
    return Labels(0, 0, bound, drift, alarmed)


def _true(judged: float, judge: Judge) -> float:
    room = 1 - judge.misses - judge.calls_right_wrong
    if room <= 0:
        return 1.0  # a judge that is no better than a coin shows nothing
    return min(1.0, max(0.0, (judged - judge.calls_right_wrong) / room))


def _ratio(budget: Budget, wrong: bool) -> float:
    judge = budget.judge
    kept, worse = (
        share * (1 - judge.misses) + (1 - share) * judge.calls_right_wrong
        for share in (budget.share, min(0.5, WORSE * budget.share))
    )
    return worse / kept if wrong else (1 - worse) / (1 - kept)


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
