"""The API server's audit log: which ServiceAccount asked for what, and what it was told.

Used by provider.py, and by tests that compare what programs ask for with what they may.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_ACCOUNT = "system:serviceaccount:"
_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived", "ResponseStarted"],
    "rules": [
        {"level": "None", "namespaces": ["kube-system"], "userGroups": ["system:nodes"]},
        {"level": "Metadata", "userGroups": ["system:serviceaccounts"]},
        {"level": "None"},
    ],
}


@dataclass(frozen=True)
class Asked:
    """One request. Attributes: resource: as RBAC names it, with its part, such as pods/status."""

    account: str
    verb: str
    group: str
    resource: str
    namespace: str
    name: str
    code: int


@dataclass(frozen=True)
class Audit:
    """The log of one cluster. Watches appear in it when they end."""

    policy: Path
    log: Path

    @property
    def arguments(self) -> tuple[str, ...]:
        """The API server's arguments."""
        return (f"--audit-policy-file={self.policy}", f"--audit-log-path={self.log}")

    def of(self, namespace: str) -> Iterator[Asked]:
        """Yield what the ServiceAccounts of a namespace have asked for so far."""
        if not self.log.exists():
            return
        for line in self.log.read_text().splitlines():
            event = json.loads(line)
            user: str = event["user"]["username"]
            about = event.get("objectRef")
            if about is None or not user.startswith(f"{_ACCOUNT}{namespace}:"):
                continue
            part = f"/{about['subresource']}" if "subresource" in about else ""
            yield Asked(
                account=user.rpartition(":")[2],
                verb=event["verb"],
                group=about.get("apiGroup", ""),
                resource=about["resource"] + part,
                namespace=about.get("namespace", ""),
                name=about.get("name", ""),
                code=event["responseStatus"]["code"],
            )


def audited(folder: Path) -> Audit:
    """Return the log of a cluster whose state is in `folder`, its policy written there."""
    folder.mkdir(parents=True, exist_ok=True)
    audit = Audit(folder / "audit.json", folder / "audit.log")
    audit.policy.write_text(json.dumps(_POLICY))
    return audit
