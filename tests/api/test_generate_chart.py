"""What is generated for the chart: definitions as templates, the README, rights from the table.

Not covered: what helm and an API server make of it (e2e/test_chart_templates.py).
"""

import json

import pytest
import yaml

from fairstow.api import KINDS
from fairstow.cluster.kinds import READ
from fairstow.kube.permissions import OPERATOR, PROGRAMS, ROLES, grants
from tools.generate.__main__ import ROOT
from tools.generate.chart import chart_crd, documented, readme, scheduler_configuration
from tools.generate.crd import as_yaml, custom_resource_definition
from tools.generate.permissions import chart_file, page


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.__name__)
def test_a_definition_is_the_same_but_for_whether_it_is_kept(kind: type) -> None:
    template = chart_crd(kind)
    own = [line for line in template.splitlines() if not line.strip().startswith("{{-")]
    text = "\n".join(own).replace('{{ "{{" }}', "{{")
    assert "helm.sh/resource-policy: keep" in text
    plain = yaml.safe_load(text)
    assert plain["metadata"].pop("annotations") == {"helm.sh/resource-policy": "keep"}
    assert plain == yaml.safe_load(as_yaml(custom_resource_definition(kind)))


def test_the_readme_says_what_every_value_is() -> None:
    text = readme(ROOT)
    values = yaml.safe_load((ROOT / "helm/fairstow/values.yaml").read_text())
    for name, below in values.items():
        for path in [f"{name}.{key}" for key in below] if isinstance(below, dict) else [name]:
            assert f"| `{path}` |" in text or path.endswith(".resources"), path


def test_a_value_without_a_comment_stops_the_generation() -> None:
    with pytest.raises(ValueError, match=r"image\.tag has no comment"):
        list(documented("# The image.\nimage:\n  # Where.\n  name: a\n\n  tag: b\n"))


def test_comments_of_several_lines_are_one_sentence() -> None:
    text = "# One\n# and two.\na: 1\n\nb:\n  # Three.\n  c: {d: 4}\n"
    assert list(documented(text)) == [("a", 1, "One and two."), ("b.c", {"d": 4}, "Three.")]


def test_the_scheduler_asks_the_extender_under_tls() -> None:
    (extender,) = json.loads(scheduler_configuration())["extenders"]
    assert extender["enableHTTPS"]
    assert extender["nodeCacheCapable"]
    assert extender["ignorable"] == "IGNORABLE"


def test_rights_have_a_reason_and_no_wildcard() -> None:
    given = [g for p in PROGRAMS for g in grants(p)]
    given += [g for role in ROLES for g in role.grants]
    for grant in given:
        assert grant.why.endswith("."), grant
        assert "*" not in (*grant.verbs, *grant.resources, grant.group), grant


def test_secrets_are_read_by_name_and_by_the_operator_alone() -> None:
    for program in PROGRAMS:
        for grant in grants(program):
            if "secrets" in grant.resources:
                assert program is OPERATOR
                assert grant in program.issues.own
                assert grant.names or grant.verbs == ("create",)


def test_the_operator_may_watch_what_a_snapshot_is_made_of() -> None:
    watched = {
        (grant.group, resource)
        for grant in OPERATOR.cluster
        if "watch" in grant.verbs
        for resource in grant.resources
    }
    needed = {(kind.api_version.rpartition("/")[0], kind.resource) for kind in READ}
    assert needed <= watched


def test_every_right_of_the_table_is_on_the_page_and_in_the_chart() -> None:
    table = yaml.safe_load(chart_file())
    assert [each["name"] for each in table["programs"]] == [p.name for p in PROGRAMS]
    text = page()
    for program in PROGRAMS:
        assert f"## {program.name}\n" in text
        for grant in (*program.cluster, *program.own):
            assert grant.why in text
