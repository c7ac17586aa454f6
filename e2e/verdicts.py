"""What the real scheduler's filters say about pods of a dump, without a cluster.

Used by tests of fairstow's own rules (test_rules_against_scheduler.py). The program behind it,
`verdicts`, links kube-scheduler's framework with the default plugins (see its main.go): a pod that
is pending or runs is judged on every node as if it arrived there now.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from e2e.controlplane.build import VERDICTS, ensure

GATES = "TaintTolerationComparisonOperators=true"
"""Rules that are there only where somebody switches them on; without it no such pod exists."""

Objects = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Verdict:
    """What one node says to one pod.

    Attributes:
        plugin: the filter that refuses, or "" where all accept.
        reasons: its words; "error: …" where the scheduler would keep the pod waiting by an error.
        unresolvable: evicting pods of that node wouldn't help.
    """

    plugin: str
    reasons: tuple[str, ...]
    unresolvable: bool

    @property
    def accepted(self) -> bool:
        """Whether the node takes the pod."""
        return not self.plugin


def verdicts(
    questions: Iterable[tuple[Objects, Sequence[str]]],
) -> list[dict[tuple[str, str], Verdict]]:
    """Return, for each question, the verdicts by (pod UID, node name).

    Args:
        questions: the objects of a cluster with the UIDs of the pods to judge in it.

    Raises:
        BuildError: the program can't be built here.
        RuntimeError: it refuses the objects; the message is its own.
    """
    program = ensure(VERDICTS)
    documents = [{"items": list(objects), "pods": list(uids)} for objects, uids in questions]
    reply = subprocess.run(
        ["nice", str(program), f"--feature-gates={GATES}"],
        input="\n".join(map(json.dumps, documents)),
        capture_output=True,
        text=True,
        check=False,
    )
    if reply.returncode:
        raise RuntimeError(reply.stderr.strip())
    answers: list[dict[tuple[str, str], Verdict]] = []
    current: dict[tuple[str, str], Verdict] = {}
    for line in reply.stdout.splitlines():
        said = json.loads(line)
        if said.get("done"):
            answers.append(current)
            current = {}
            continue
        current[said["pod"], said["node"]] = Verdict(
            said.get("plugin", ""),
            tuple(said.get("reasons", ())),
            said.get("unresolvable", False),
        )
    return answers
