"""What a pod's volumes mean for placing and moving it.

Volumes made from API objects (configMap, secret, projected, downwardAPI, image) and memory-backed
emptyDirs follow a pod anywhere. hostPath and disk-backed emptyDir hold data that a move loses.
Claims bring node affinity and attach limits, which `attachments` judges. All else is not modelled.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from fairstow.cluster.errors import printable
from fairstow.cluster.model import ClaimUse

_FREE = frozenset(
    {"configMap", "secret", "projected", "downwardAPI", "image", "gitRepo", "nfs", "emptyDir",
     "hostPath"}
)  # fmt: skip


class VolumeFacts(NamedTuple):
    """What volumes mean.

    Attributes:
        local: the volume whose data a move would lose, or "".
        unmodelled: sentences.
        claims: volumes that come from claims, in the pod's order.
    """

    local: str
    unmodelled: tuple[str, ...]
    claims: tuple[ClaimUse, ...]


def read_volumes(volumes: Iterable[Mapping[str, Any]]) -> VolumeFacts:
    """Return what the volumes of a pod spec mean for it.

    Raises:
        ValueError: an emptyDir isn't an object.
    """
    local = ""
    unmodelled: set[str] = set()
    claims: list[ClaimUse] = []
    for volume in volumes:
        sources = [printable(k) for k in volume if k != "name"]
        name = printable(str(volume.get("name")))
        if "hostPath" in sources:
            local = local or f"hostPath volume {name}"
        if "emptyDir" in sources:
            empty = volume["emptyDir"] or {}
            if not isinstance(empty, Mapping):
                raise ValueError("spec.volumes.emptyDir: expected an object")
            if empty.get("medium") not in ("Memory",) and not str(
                empty.get("medium") or ""
            ).startswith("HugePages"):
                local = local or f"emptyDir volume {name} on the node's disk"
        if "persistentVolumeClaim" in sources:
            claims.append(ClaimUse(_claim_name(volume["persistentVolumeClaim"]), ephemeral=False))
        if "ephemeral" in sources:
            claims.append(ClaimUse(name, ephemeral=True))
        unmodelled.update(f"{kind} volume" for kind in sources if kind not in _FREE)
    return VolumeFacts(local, tuple(sorted(unmodelled)), tuple(claims))


def _claim_name(source: Any) -> str:
    name = source.get("claimName") if isinstance(source, Mapping) else None
    return name if isinstance(name, str) else ""
