"""The KubeSchedulerConfiguration that attaches the extender to a scheduler.

Pure. Called by the chart for the scheduler named `fairstow`, and by e2e and the benchmark; what an
administrator adds to the configuration of the default scheduler is `extender` alone
(docs/extender.md). The API, kubescheduler.config.k8s.io/v1, and every field used here are the same
from Kubernetes 1.28 to 1.37.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fairstow.kube.versions import NEWEST, OLDEST

SCHEDULER = "fairstow"
"""schedulerName of pods that want to be scheduled with Fairstow's plugins."""

WEIGHT = 5
"""Of our score among the scheduler's: above its balancing (1 each) and near a preference (2, 3)."""


@dataclass(frozen=True)
class Attachment:
    """How a scheduler reaches the extender.

    Attributes:
        url: such as `https://fairstow-extender.fairstow-system.svc:8443`.
        ca: path of the authority that signed the extender's certificate, in the scheduler's pod.
        certificate: path of the scheduler's client certificate; `key` is its private key's.
        server_name: the name in the extender's certificate, where the URL has another.
        ignorable: pods are scheduled without the extender while it doesn't answer. With False they
            wait: room that plans keep is then never lost, and nothing is scheduled without us.
        timeout: how long the scheduler waits for an answer, as a Go duration.
    """

    url: str
    ca: str
    certificate: str
    key: str
    server_name: str = ""
    ignorable: bool = True
    timeout: str = "5s"
    weight: int = WEIGHT


def extender(attachment: Attachment) -> dict[str, Any]:
    """Return the entry for `extenders`.

    It has no managedResources: pods that ask for no GPU would take the CPU of room that is kept.
    """
    tls = {
        "caFile": attachment.ca,
        "certFile": attachment.certificate,
        "keyFile": attachment.key,
    }
    if attachment.server_name:
        tls["serverName"] = attachment.server_name
    return {
        "urlPrefix": attachment.url,
        "filterVerb": "filter",
        "prioritizeVerb": "prioritize",
        "preemptVerb": "preempt",
        "weight": attachment.weight,
        "enableHTTPS": True,
        "tlsConfig": tls,
        "httpTimeout": attachment.timeout,
        "nodeCacheCapable": True,
        "ignorable": attachment.ignorable,
    }


def configuration(
    attachment: Attachment,
    *,
    minor: int,
    leader_election_namespace: str,
    percentage_of_nodes_to_score: int = 0,
) -> dict[str, Any]:
    """Return the configuration of a scheduler of our own.

    Args:
        attachment: the extender.
        minor: the scheduler's minor version, 28 to 37.
        leader_election_namespace: where replicas agree who schedules, by a Lease.
        percentage_of_nodes_to_score: 0 leaves it to the scheduler: fewer, the more nodes there are.

    Raises:
        ValueError: the version isn't supported.
    """
    if not OLDEST <= minor <= NEWEST:
        raise ValueError(
            f"Kubernetes 1.{minor} isn't supported: use a scheduler of 1.{OLDEST} to 1.{NEWEST}"
        )
    return {
        "apiVersion": "kubescheduler.config.k8s.io/v1",
        "kind": "KubeSchedulerConfiguration",
        "leaderElection": {
            "leaderElect": True,
            "resourceName": "fairstow-scheduler",
            "resourceNamespace": leader_election_namespace,
        },
        "enableProfiling": False,
        "percentageOfNodesToScore": percentage_of_nodes_to_score,
        "profiles": [{"schedulerName": SCHEDULER}],
        "extenders": [extender(attachment)],
    }
