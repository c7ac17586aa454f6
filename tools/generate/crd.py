"""Builds the CustomResourceDefinition of a kind. Called by tools.generate.__main__."""

import json
from hashlib import blake2b
from typing import Any

import yaml

from fairstow.api import KINDS
from fairstow.api.model import GROUP, SCHEMA_LABEL, VERSION, CustomResource
from tools.generate.schema import structural_schema

HEADER = "# Generated from fairstow/api by `make generate`: change the models, not this file.\n"
_AGE = {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}


def custom_resource_definition(kind: type[CustomResource]) -> dict[str, Any]:
    """Return the CRD of `kind`; raises SchemaError as structural_schema does."""
    resource = kind.resource
    columns = [
        {"name": column.name, "type": column.type, "jsonPath": column.path}
        for column in resource.columns
    ]
    spec = {
        "group": GROUP,
        "scope": resource.scope,
        "names": {
            "kind": kind.__name__,
            "listKind": f"{kind.__name__}List",
            "plural": resource.plural,
            "singular": kind.__name__.lower(),
            "shortNames": [resource.short_name],
            "categories": ["fairstow"],
        },
        "versions": [
            {
                "name": VERSION,
                "served": True,
                "storage": True,
                "subresources": {"status": {}},
                "additionalPrinterColumns": [*columns, _AGE],
                "schema": {"openAPIV3Schema": structural_schema(kind)},
            }
        ],
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"{resource.plural}.{GROUP}",
            "labels": {"app.kubernetes.io/part-of": "fairstow", SCHEMA_LABEL: _digest(spec)},
        },
        "spec": spec,
    }


def schemas() -> str:
    """Return the file by which programs know whether a cluster's definitions are their own."""
    labels = {
        kind.resource.plural: custom_resource_definition(kind)["metadata"]["labels"][SCHEMA_LABEL]
        for kind in KINDS
    }
    return json.dumps(labels, indent=2) + "\n"


def _digest(spec: dict[str, Any]) -> str:
    # The letter in front: digits and one e would be a number to some readers of YAML.
    return f"s{blake2b(json.dumps(spec).encode(), digest_size=8).hexdigest()}"


def as_yaml(definition: dict[str, Any]) -> str:
    """Return the file's text."""
    return HEADER + yaml.dump(
        definition, Dumper=_Dumper, sort_keys=False, width=100, allow_unicode=True
    )


class _Dumper(yaml.SafeDumper):
    """Writes equal parts out in full: an alias would say that they are one."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        return True
