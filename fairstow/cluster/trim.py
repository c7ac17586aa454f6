"""Objects without what no plan reads and may be confidential or long.

Called by whoever writes a dump: `fairstow snapshot` from dumps, and `fairstow.kube` from a running
cluster. Left out are managed fields, the last applied configuration, the environment of containers
and what storage drivers are told.
"""

from typing import Any

from fairstow.cluster.errors import InputError
from fairstow.cluster.items import Item, sentence

_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_CONTAINERS = ("containers", "initContainers", "ephemeralContainers")


def trimmed(item: Item) -> dict[str, Any]:
    """Return an object as a dump holds it.

    Raises:
        InputError: it hasn't the form of its kind.
    """
    try:
        content: dict[str, Any] = item.decode(dict[str, Any])
        meta, spec = content.get("metadata") or {}, content.get("spec") or {}
        meta.pop("managedFields", None)
        (meta.get("annotations") or {}).pop(_LAST_APPLIED, None)
        template = spec.get("template") or {}
        if item.kind == "SparkAdmission":
            template = {}  # a name
        for pod in (spec, template.get("spec") or {}):
            for containers in _CONTAINERS:
                for container in pod.get(containers) or ():
                    container.pop("env", None)
        if item.kind == "PersistentVolume":
            (spec.get("csi") or {}).pop("volumeAttributes", None)
        if item.kind == "StorageClass":
            content.pop("parameters", None)
    except (ValueError, OverflowError, RecursionError) as error:
        raise InputError(item.where, sentence(error)) from error
    except (AttributeError, TypeError) as error:  # a kind whose form nobody has checked
        raise InputError(item.where, f"has an unexpected form ({error})") from error
    return {"apiVersion": item.api_version, "kind": item.kind, **content}
