"""Which running cluster a command reads."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Live:
    """As kubectl's flags; None leaves the choice to the kubeconfig."""

    kubeconfig: str | None = None
    context: str | None = None
