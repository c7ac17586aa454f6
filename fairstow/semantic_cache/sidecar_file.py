"""What a SemanticCache becomes for its sidecars: their file, and the names of what holds it.

Called by the cache controller, which writes it, and by `injection`, which mounts it. The file is
read by fairstow/cache_sidecar/configuration.py.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import msgspec

from fairstow.api import Category, SemanticCache
from fairstow.api.fields import duration_milliseconds
from fairstow.api.semantic_cache import Load
from fairstow.serving.pressure import WORD

CONFIG_KEY, ADMIN_KEY, METRICS_KEY = "cache.yaml", "admin", "metrics"
"""Of the ConfigMap, and of the Secret: the admin port's token, and what is enough to read from it
how much is cached, but not what."""
CERTIFICATE, PRIVATE_KEY, AUTHORITY = "tls.crt", "tls.key", "ca.crt"
"""Of the Secret: by what the admin port is encrypted, and checked. It is in the name of `holder`,
whatever the pods' addresses are."""


class Issuer(msgspec.Struct, frozen=True):
    """Who signs the tokens of a cluster's ServiceAccounts. Attributes: keys: public, RFC 7517."""

    name: str
    keys: tuple[Mapping[str, str], ...]


def holder(name: str) -> str:
    """Return what a cache's ConfigMap and Secret are called."""
    return f"fairstow-cache-{name}"


def sidecar_file(cache: SemanticCache, issuer: Issuer | None = None) -> str:
    """Return the file, as JSON, which is YAML; without an issuer no ServiceAccount is known."""
    spec = cache.spec
    said: dict[str, Any] = {
        "mode": spec.mode,
        "categories": [_category(each) for each in spec.categories],
        "reask": {"permille": spec.reask.permille, "perMinute": spec.reask.per_minute},
        "judge": {
            "callsRightWrongPermille": spec.judge.calls_right_wrong_permille,
            "missesPermille": spec.judge.misses_permille,
        },
        "lookupDeadlineSeconds": _seconds(spec.lookup_deadline),
        "mostEntries": spec.most_entries,
    }
    if spec.header is not None:
        said["header"] = {"name": spec.header.name, "mapping": spec.header.mapping}
    if load := _load(spec.load):
        said["load"] = load
    if spec.accounts is not None and issuer is not None:
        said["accounts"] = {
            "issuer": issuer.name,
            "audience": spec.accounts.audience,
            "keys": list(issuer.keys),
        }
    return json.dumps(said, indent=1, sort_keys=True) + "\n"


def _load(load: Load) -> dict[str, Any]:
    said: dict[str, Any] = {"header": WORD} if load.gateway else {}
    if load.idle is not None and load.overloaded is not None:
        said |= {
            "idleSeconds": _seconds(load.idle),
            "overloadedSeconds": _seconds(load.overloaded),
        }
    return said


def _category(category: Category) -> dict[str, Any]:
    said: dict[str, Any] = {
        "name": category.name,
        "caching": category.caching,
        "thresholdPermille": category.threshold_permille,
        "floorPermille": category.floor_permille,
        "ttlSeconds": _seconds(category.ttl),
        "ttlMaxSeconds": _seconds(category.ttl_max),
        "quotaEntries": category.quota_entries,
        "priority": category.priority,
        "keywords": list(category.keywords),
        "code": category.code,
        "adaptation": {
            "maxRelaxPermille": category.adaptation.max_relax_permille,
            "ttlFactorMax": category.adaptation.ttl_factor_max,
        },
        "errorBudgetPermille": category.error_budget_permille,
        "calibrationSigned": category.calibration_signed,
    }
    return said if category.mode is None else said | {"mode": category.mode}


def _seconds(text: str) -> float:
    return duration_milliseconds(text) / 1_000
