"""What the rules between pods add up in each domain, kept up to date as a layout changes.

Kept by every `Incumbent`; asked by whoever places pods, and by the CP-SAT statement for what lies
outside of its nodes. A change costs what it touches; a group that no rule speaks of costs nothing.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from fairstow.packing.between import Between, Counts, Near, Spread

Entry = tuple[int, int, bool]
"""Index of a rule, of a sum of it, whether it counts arrivals only."""


class Ledger:
    """The sums of all rules under one layout."""

    def __init__(
        self,
        between: Sequence[Between],
        running: Sequence[Mapping[int, int]],
        at: Sequence[Mapping[int, int]],
    ) -> None:
        self._rules, self._running = between, running
        self._of: dict[int, list[Entry]] = {}
        self._sums: list[list[dict[str, int]]] = [[{} for _ in rule.sums] for rule in between]
        # How many domains of a rule that spreads have how many pods, to know the emptiest at once.
        self._levels: dict[int, Counter[int]] = {}
        for index, rule in enumerate(between):
            if isinstance(rule, Spread) and not rule.from_zero:
                levels = Counter(rule.fixed.values())
                levels[0] += len(rule.names) - len(rule.fixed)
                self._levels[index] = +levels
            for number, total in enumerate(rule.sums):
                for group in total.groups:
                    self._of.setdefault(group, []).append((index, number, total.arrivals))
        for group in self._of:
            for node, count in at[group].items():
                self.shift(group, node, 0, count)
        self._rules_of = {g: sorted({e[0] for e in entries}) for g, entries in self._of.items()}

    @property
    def groups(self) -> frozenset[int]:
        """Groups that rules speak of."""
        return frozenset(self._of)

    def shift(self, group: int, node: int, before: int, after: int) -> None:
        """Note how many pods of a group a node has, and had."""
        if group not in self._of:
            return
        now = self._running[group].get(node, 0)
        arrived = max(0, after - now) - max(0, before - now)
        for index, number, arrivals in self._of[group]:
            step = arrived if arrivals else after - before
            domain = self._rules[index].domain.get(node)
            if domain is not None and step:
                self._add(index, number, domain, step)

    def _add(self, index: int, number: int, domain: str, step: int) -> None:
        sums = self._sums[index][number]
        count = sums.get(domain, 0)
        if count + step:
            sums[domain] = count + step
        else:
            del sums[domain]
        rule = self._rules[index]
        if number == 1 and index in self._levels and isinstance(rule, Spread):
            levels, total = self._levels[index], rule.fixed.get(domain, 0) + count
            levels[total + step] += 1
            levels[total] -= 1
            if not levels[total]:
                del levels[total]

    def rules_of(self, group: int) -> Sequence[int]:
        """Indices of the rules that speak of a group."""
        return self._rules_of.get(group, ())

    def sums(self, rule: int) -> Sequence[Counts]:
        """What a rule adds up, by domain, in the order of its `sums`."""
        return self._sums[rule]

    def low(self, rule: int, without: Iterable[int] = ()) -> int | None:
        """Pods in the emptiest domain of a rule that spreads; None where there is no domain.

        Args:
            rule: its index.
            without: counts of domains to be left out.
        """
        levels = self._levels[rule].copy() if without else self._levels[rule]
        levels.subtract(without)
        return min((count for count, many in levels.items() if many), default=None)

    def hold(self, group: int) -> bool:
        """Whether the rules that speak of a group hold."""
        return all(self._holds(i) for i in self.rules_of(group))

    def keeps_near(self) -> bool:
        """Whether nobody is left without the pods it must be near."""
        return all(self._holds(i) for i, rule in enumerate(self._rules) if isinstance(rule, Near))

    def allow(self, group: int, node: int, count: int) -> bool:
        """Whether one more pod of a group on a node that has `count` leaves its rules intact."""
        if group not in self._of:
            return True
        self.shift(group, node, count, count + 1)
        allowed = self.hold(group)
        self.shift(group, node, count + 1, count)
        return allowed

    def _holds(self, index: int) -> bool:
        low = self.low(index) if index in self._levels else 0
        return self._rules[index].holds(self._sums[index], low or 0)
