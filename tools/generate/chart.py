"""Writes the parts of helm/fairstow that are made from code: CRDs, scheduler configuration, README.

Called by tools.generate.__main__. The README's table is read from values.yaml itself: the comment
above a value is its description.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from fairstow.api.model import CustomResource
from fairstow.kube.versions import OLDEST
from scheduler_plugins.profile import Attachment, configuration
from tools.generate.crd import as_yaml, custom_resource_definition

CHART = "helm/fairstow"
CRDS = f"{CHART}/templates/crds"
_TLS = "/tls"
_KEPT = """\
  annotations:
    {{- if .Values.crds.keep }}
    helm.sh/resource-policy: keep
    {{- end }}
  labels:
"""


def chart_crd(kind: type[CustomResource]) -> str:
    """Return the template that installs the CRD of `kind`, and keeps it if told to."""
    text = as_yaml(custom_resource_definition(kind))
    head, separator, rest = text.partition("  labels:\n")
    assert separator, "a CRD has labels"
    body = _escaped(head) + _KEPT + _escaped(rest)
    return "{{- if .Values.crds.enabled }}\n" + body + "{{- end }}\n"


def _escaped(text: str) -> str:
    """Return text that a template gives out as it is."""
    return text.replace("{{", '{{ "{{" }}')


def scheduler_configuration() -> str:
    """Return the scheduler's configuration with NAMESPACE and "IGNORABLE" left to the chart."""
    attachment = Attachment(
        url="https://fairstow-extender.NAMESPACE.svc:8443",
        ca=f"{_TLS}/ca.crt",
        certificate=f"{_TLS}/tls.crt",
        key=f"{_TLS}/tls.key",
    )
    # It is the same for all versions that are supported.
    config = configuration(attachment, minor=OLDEST, leader_election_namespace="NAMESPACE")
    config["extenders"][0]["ignorable"] = "IGNORABLE"
    return json.dumps(config, indent=2) + "\n"


def readme(root: Path) -> str:
    """Return the chart's README, with a row for each value of values.yaml."""
    values = (root / CHART / "values.yaml").read_text(encoding="utf-8")
    introduction = (Path(__file__).parent / "chart.md").read_text(encoding="utf-8")
    lines = ["## Values", "", "| Value | Default | Meaning |", "|---|---|---|"]
    lines += [
        f"| `{path}` | {_code(default)} | {meaning} |"
        for path, default, meaning in documented(values)
    ]
    note = "<!-- Generated from values.yaml and tools/generate/chart.md by `make generate`. -->\n"
    return note + introduction + "\n".join(lines) + "\n"


def documented(text: str) -> Iterator[tuple[str, Any, str]]:
    """Yield path, default and description of each value; the default of a group is None.

    Raises:
        ValueError: a value has no comment above it.
    """
    root = yaml.compose(text)
    assert isinstance(root, yaml.MappingNode)
    yield from _documented(root, "", text.splitlines())


def _documented(
    mapping: yaml.MappingNode, path: str, lines: list[str]
) -> Iterator[tuple[str, Any, str]]:
    for key, value in mapping.value:
        below = f"{path}.{key.value}".removeprefix(".")
        block = isinstance(value, yaml.MappingNode) and not value.flow_style
        default = yaml.safe_load(yaml.serialize(value))
        comment = _comment(lines, key.start_mark.line)
        if block and below not in _WHOLE:
            if comment:
                yield below, None, comment
            yield from _documented(value, below, lines)
        elif comment:
            yield below, default, comment
        else:
            raise ValueError(f"values.yaml: {below} has no comment above it that says what it is")


_WHOLE = frozenset(
    f"{program}.resources" for program in ("operator", "webhook", "extender", "scheduler")
)


def _comment(lines: list[str], line: int) -> str:
    """Return the comment that ends right above a line, as one line."""
    found: list[str] = []
    while line > 0 and lines[line - 1].lstrip().startswith("#"):
        line -= 1
        found.insert(0, lines[line].lstrip().removeprefix("#").strip())
    return " ".join(found)


def _code(default: Any) -> str:
    if default is None:
        return ""
    text = default if isinstance(default, str) and default else json.dumps(default)
    return f"`{text}`"
