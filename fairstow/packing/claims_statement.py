"""The rules between arrivals with claims on some nodes, as CP-SAT constraints. See `claims`.

Called by `cpsat` for each model.
"""

from ortools.sat.python import cp_model

from fairstow.packing.claims import Attach, ClaimRule, OnePod
from fairstow.packing.incumbent import Incumbent
from fairstow.packing.problem import Site
from fairstow.packing.statement import Linear, Variables, add_up


def state_claims(incumbent: Incumbent, of: Variables) -> None:
    """Add the rules of claims."""
    for rule in incumbent.problem.claims:
        if isinstance(rule, Attach):
            for node in of.nodes:
                if node in rule.free:
                    _attach(incumbent, of, rule, node)
        else:
            _alone(incumbent, of, rule)


def _alone(incumbent: Incumbent, of: Variables, rule: ClaimRule) -> None:
    """One pod at most, or all pods on one node."""
    groups = sorted(rule.groups)
    here = {n: [of.x[g, n] for g in groups if (g, n) in of.x] for n in of.nodes}
    arrived = [add_up(counts) for counts in here.values() if counts]
    outside = sum(count for g in groups for n, count in incumbent.at[g].items() if n not in here)
    if isinstance(rule, OnePod):
        of.model.add(add_up([*arrived, outside]) <= 1)
    else:
        present = [_presence(of, count) for count in arrived]
        of.model.add(add_up(present) <= int(not outside))


def _attach(incumbent: Incumbent, of: Variables, rule: Attach, node: int) -> None:
    """No more volumes of a driver than may be attached."""
    parts: list[Linear] = []
    for group, disks in rule.own.items():
        if disks and (group, node) in of.x:
            now = rule.running[group].get(node, 0)
            parts.append(disks * _arrivals(incumbent, of, (group, node), now))
    for bringing in rule.new(node).values():
        counts = [of.x[g, node] for g in bringing if (g, node) in of.x]
        if counts:
            parts.append(_presence(of, add_up(counts)))
    if parts:
        of.model.add(add_up(parts) <= rule.free[node])


def _arrivals(incumbent: Incumbent, of: Variables, site: Site, now: int) -> Linear:
    """Return an expression that is at least max(0, x − now), and that where it matters."""
    if not now:
        return of.x[site]
    arrived = of.model.new_int_var(0, of.most[site], "")
    of.hints.append((arrived, max(0, incumbent.count(site) - now)))
    of.model.add(arrived >= of.x[site] - now)
    return arrived


def _presence(of: Variables, count: Linear) -> cp_model.IntVar:
    """Return a Boolean that is true where a count is above 0."""
    present = of.model.new_bool_var("")
    of.model.add(count == 0).only_enforce_if(~present)
    return present
