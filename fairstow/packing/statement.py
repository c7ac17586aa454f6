"""The rules between pods on some nodes, as CP-SAT constraints.

Called by `cpsat` for each model. What lies outside of the model's nodes is constant and read from
the incumbent's ledger; rules that speak of no group of the model are left out. See `between`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ortools.sat.python import cp_model

from fairstow.packing.between import Apart, Between, Near, Spread
from fairstow.packing.incumbent import Incumbent
from fairstow.packing.problem import Site

Linear = Any
Literal = cp_model.IntVar | bool


@dataclass(frozen=True)
class Variables:
    """A model as the statement reads it.

    Attributes:
        x: counts by site.
        most: their upper bounds.
        hints: variables and where the incumbent has them; added to.
    """

    model: cp_model.CpModel
    nodes: Sequence[int]
    x: Mapping[Site, Linear]
    most: Mapping[Site, int]
    hints: list[tuple[cp_model.IntVar, int]]


def add_up(parts: Sequence[Linear]) -> Linear:
    """Add expressions up into a new one; `+=` would change the first of them in place."""
    if all(isinstance(part, int) for part in parts):
        return sum(parts)
    return cp_model.LinearExpr.sum(list(parts))


def state_between(incumbent: Incumbent, of: Variables, *, exact_only: bool = False) -> None:
    """Add the rules that speak of a group of the model, or the exact ones of them."""
    ledger, between = incumbent.ledger, incumbent.problem.between
    touched = {rule for group in {g for g, _ in of.x} for rule in ledger.rules_of(group)}
    for index in sorted(touched):
        if between[index].exact or not exact_only:
            _Statement(incumbent, of, index).add()


class _Statement:
    """One rule in one model."""

    def __init__(self, incumbent: Incumbent, of: Variables, index: int) -> None:
        self._incumbent, self._of, self._index = incumbent, of, index
        self._rule: Between = incumbent.problem.between[index]
        self._sums = incumbent.ledger.sums(index)
        self._nodes: dict[str, list[int]] = {}
        for node in of.nodes:
            if (domain := self._rule.domain.get(node)) is not None:
                self._nodes.setdefault(domain, []).append(node)
        self._domains = sorted(self._nodes)

    def add(self) -> None:
        rule = self._rule
        if isinstance(rule, Apart):
            self._apart(rule)
        elif isinstance(rule, Spread):
            self._spread(rule)
        else:
            self._near(rule)

    def _apart(self, rule: Apart) -> None:
        for d in self._domains:
            self._require(self._total(1, d), most=rule.most, where=[self._arrives(0, d)])
            self._require(self._total(3, d), most=0, where=[self._arrives(2, d)])

    def _spread(self, rule: Spread) -> None:
        arrivals = {d: self._arrives(0, d) for d in self._domains}
        outside = [d for d in self._sums[0] if d not in self._nodes]
        if not outside and all(arrives is False for arrives in arrivals.values()):
            return
        low: Linear = 0 if rule.from_zero else self._low(rule)
        if outside:  # who arrived there must not be left too many above the emptiest
            self._require(low, least=max(rule.total(d, self._sums[1]) for d in outside)
                          - rule.max_skew)  # fmt: skip
        for d, arrives in arrivals.items():
            skew = self._total(1, d) + rule.fixed.get(d, 0) - low
            self._require(skew, most=rule.max_skew, where=[arrives])

    def _low(self, rule: Spread) -> cp_model.IntVar:
        """Return a variable that is at most the count of every domain."""
        there, ledger = self._sums[1], self._incumbent.ledger
        totals = [rule.total(d, there) for d in self._domains]
        elsewhere = ledger.low(self._index, totals)
        inside = [self._total(1, d) + rule.fixed.get(d, 0) for d in self._domains]
        most = max(totals, default=0) + sum(self._of.most.values())
        low = self._variable(most if elsewhere is None else elsewhere, ledger.low(self._index) or 0)
        for total in inside:
            self._of.model.add(low <= total)
        return low

    def _near(self, rule: Near) -> None:
        founded: dict[str, Literal] = {}
        already = rule.founded(self._sums) or set()
        outside = already - self._nodes.keys()
        for d in self._domains:
            now = rule.now.get(d, 0)
            total = self._total(4, d) + rule.fixed.get(d, 0)
            self._require(total, least=rule.least.get(d, 0))
            own_new, new = self._arrives(0, d), self._arrives(2, d)
            self._require(total, least=1, where=[self._stands(3, d) if now else new])
            founds: Literal = False
            if rule.founders and not outside and own_new is not False:
                founds = self._boolean(d in already)
                self._imply(founds, own_new)
            founded[d] = founds
            own = self._stands(1, d) if now > 1 else own_new
            self._require(total, least=2, where=[own, _no(founds)])
            if not now:
                for arrives in (own_new, new):
                    self._require(self._total(5, d), least=1, where=[arrives, _no(founds)])
        self._found(rule, founded, outside)

    def _found(self, rule: Near, founded: Mapping[str, Literal], outside: set[str]) -> None:
        """Let one domain be founded, away from home only if the home is left."""
        self._require(sum(founded.values()), most=rule.founders - len(outside))
        home = rule.home
        if not home:
            return
        left = self._total(4, home) if home in self._nodes else self._sums[4].get(home, 0)
        for d, founds in [*founded.items(), *((d, True) for d in outside)]:
            if d != home:
                self._require(left, most=0, where=[founds])

    # Building blocks

    def _sites(self, number: int, domain: str) -> list[Site]:
        groups, x = self._rule.sums[number].groups, self._of.x
        nodes = self._nodes[domain]
        return [(g, n) for g in sorted(groups) for n in nodes if (g, n) in x]

    def _total(self, number: int, domain: str) -> Linear:
        """Return a sum that counts all pods, in one domain: this model's and the others."""
        sites = self._sites(number, domain)
        outside = self._sums[number].get(domain, 0) - sum(self._incumbent.count(s) for s in sites)
        if not sites:
            return outside
        return cp_model.LinearExpr.sum([*(self._of.x[s] for s in sites), outside])

    def _arrives(self, number: int, domain: str) -> Literal:
        """Return a literal that is true where somebody of a sum of arrivals has arrived."""
        groups, sites = self._incumbent.problem.groups, self._sites(number, domain)
        now = {s: groups[s[0]].running.get(s[1], 0) for s in sites}
        came = sum(max(0, self._incumbent.count(s) - now[s]) for s in sites)
        if self._sums[number].get(domain, 0) > came:
            return True
        able = [s for s in sites if self._of.most[s] > now[s]]
        if not able:
            return False
        arrives = self._boolean(came > 0)
        empty = [self._of.x[s] for s in able if not now[s]]
        if empty:
            self._of.model.add(cp_model.LinearExpr.sum(empty) == 0).only_enforce_if(~arrives)
        for site in able:
            if now[site]:
                self._of.model.add(self._of.x[site] <= now[site]).only_enforce_if(~arrives)
        return arrives

    def _stands(self, number: int, domain: str) -> Literal:
        """Return a literal that is true where somebody of a sum stands."""
        total = self._total(number, domain)
        if isinstance(total, int):
            return total > 0
        stands = self._boolean(self._sums[number].get(domain, 0) > 0)
        self._of.model.add(total == 0).only_enforce_if(~stands)
        return stands

    def _require(
        self,
        total: Linear,
        *,
        least: int | None = None,
        most: int | None = None,
        where: Iterable[Literal] = (),
    ) -> None:
        """Bound an expression where all literals are true."""
        literals = list(where)
        if any(literal is False for literal in literals):
            return
        wanted = [literal for literal in literals if literal is not True]
        for holds in (
            *([] if least is None else [total >= least]),
            *([] if most is None else [total <= most]),
        ):
            if holds is True:
                continue
            if not wanted:
                self._of.model.add(holds)
            elif holds is False:
                self._of.model.add_bool_or([_no(literal) for literal in wanted])
            else:
                self._of.model.add(holds).only_enforce_if(wanted)

    def _imply(self, one: Literal, other: Literal) -> None:
        if other is not True:
            self._of.model.add_implication(one, other)

    def _boolean(self, now: bool) -> cp_model.IntVar:
        variable = self._of.model.new_bool_var("")
        self._of.hints.append((variable, int(now)))
        return variable

    def _variable(self, most: int, now: int) -> cp_model.IntVar:
        variable = self._of.model.new_int_var(0, most, "")
        self._of.hints.append((variable, now))
        return variable


def _no(literal: Literal) -> Any:
    return not literal if isinstance(literal, bool) else ~literal
