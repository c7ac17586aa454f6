"""The generator: what it refuses to generate, what the CRDs say, and that --check sees stale files.

Not covered: whether a real API server takes the CRDs (e2e/test_custom_resources.py).
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

from fairstow.api import KINDS, Reason
from fairstow.api.model import CustomResource, Model
from fairstow.api.rules import Rule
from tools.generate.__main__ import ROOT, generated, main, write
from tools.generate.crd import custom_resource_definition
from tools.generate.reference import reference_page
from tools.generate.schema import SchemaError, structural_schema


def kind_with(annotation: Any, default: Any = ...) -> type[CustomResource]:
    """A kind whose spec has the one field `value` of this type."""

    class WidgetSpec(Model):
        """What a widget is."""

        value: annotation = Field(default)

    class Widget(CustomResource):
        """A widget."""

        kind: Annotated[Literal["Widget"], Field(description="Widget.")] = "Widget"
        spec: Annotated[WidgetSpec, Field(description="The widget.")]

    return Widget


def field_schema(annotation: Any, default: Any = ...) -> dict[str, Any]:
    schema: dict[str, Any] = structural_schema(kind_with(annotation, default))
    value: dict[str, Any] = schema["properties"]["spec"]["properties"]["value"]
    return value


class Open(Model):
    """Some part."""

    undescribed: int


Text = Annotated[str, Field(max_length=5, description="Text.")]


@pytest.mark.parametrize(
    ("annotation", "complaint"),
    [
        (Annotated[float, Field(description="x")], "WidgetSpec.value: floats are not allowed"),
        (Annotated[str, Field(description="x")], "WidgetSpec.value: a string needs max_length"),
        (
            Annotated[tuple[Text, ...], Field(description="x")],
            "WidgetSpec.value: a list needs max_length",
        ),
        (
            Annotated[dict[str, Text], Field(description="x")],
            "WidgetSpec.value: a map needs max_length",
        ),
        (
            Annotated[tuple[str, ...], Field(max_length=3, description="x")],
            r"WidgetSpec.value\[\]: has no description",
        ),
        (Annotated[str, Field(max_length=5)], "WidgetSpec.value: has no description"),
        (Annotated[Open, Field(description="x")], "Open.undescribed: has no description"),
        (Annotated[int | str, Field(description="x")], "WidgetSpec.value: a field can have one"),
        (Annotated[Any, Field(description="x")], "WidgetSpec.value: has no single type"),
        (
            Annotated[dict[str, Any], Field(description="x")],
            "WidgetSpec.value: an object of any shape",
        ),
        (
            Annotated[int, Field(multiple_of=5, description="x")],
            "WidgetSpec.value: a CRD has no keyword multipleOf",
        ),
    ],
)
def test_a_field_that_breaks_the_conventions_stops_generation(
    annotation: Any, complaint: str
) -> None:
    with pytest.raises(SchemaError, match=f"^{complaint}"):
        structural_schema(kind_with(annotation))


def test_an_optional_field_is_just_not_required() -> None:
    assert field_schema(Text | None, None) == {
        "description": "Text.",
        "type": "string",
        "maxLength": 5,
    }


def test_integers_and_lists_get_the_keywords_kubernetes_needs() -> None:
    assert field_schema(Annotated[int, Field(description="A number.")])["format"] == "int64"
    texts = field_schema(Annotated[tuple[Text, ...], Field(max_length=3, description="x")])
    assert texts["x-kubernetes-list-type"] == "atomic"


def test_rules_of_a_type_and_of_the_field_are_both_kept() -> None:
    first, second = Rule(cel="self == 1", message="one"), Rule(cel="self == 2", message="two")
    value = field_schema(Annotated[int, first, Field(description="x"), second])
    assert [each["rule"] for each in value["x-kubernetes-validations"]] == [first.cel, second.cel]


def test_a_default_object_is_left_to_the_defaults_of_its_fields() -> None:
    class Part(Model):
        """A part."""

        size: Annotated[int, Field(description="How big.")] = 3

    value = field_schema(Annotated[Part, Field(description="The part.")], Part())
    assert value["default"] == {}
    assert value["properties"]["size"]["default"] == 3


@pytest.mark.parametrize("kind", KINDS)
def test_a_crd_is_listed_described_and_structural(kind: type[CustomResource]) -> None:
    spec = custom_resource_definition(kind)["spec"]
    assert spec["names"]["categories"] == ["fairstow"]
    assert spec["names"]["shortNames"] == [kind.resource.short_name]
    (version,) = spec["versions"]
    assert version["subresources"] == {"status": {}}
    assert version["additionalPrinterColumns"][-1]["name"] == "Age"
    keys = set(_keys(version["schema"]["openAPIV3Schema"]))
    assert not keys & {"$ref", "anyOf", "title", "const"}


def _keys(schema: Any) -> Iterator[str]:
    """Every keyword of a schema; the names of properties are none."""
    for key, value in schema.items():
        yield key
        if key == "properties":
            for each in value.values():
                yield from _keys(each)
        elif key in ("items", "additionalProperties"):
            yield from _keys(value)


@pytest.mark.parametrize("kind", KINDS)
def test_the_reference_page_names_every_field_and_rule(kind: type[CustomResource]) -> None:
    page = reference_page(kind)
    for column in kind.resource.columns:
        assert f"| {column.name} |" in page
    for rule in kind.model_fields["spec"].annotation.validations:  # type: ignore[union-attr]
        assert rule.message in page
    for field in kind.model_fields["spec"].annotation.model_fields.values():  # type: ignore[union-attr]
        assert f"| `{field.alias}` |" in page


def test_the_reasons_page_explains_every_reason() -> None:
    page = generated()["docs/reference/reasons.md"]
    for reason in Reason:
        assert f"| `{reason}` | {reason.sentence} |" in page


def test_what_is_committed_is_up_to_date(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--check"], ROOT) == 0, capsys.readouterr().err


def test_check_names_each_stale_file_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([], tmp_path) == 0
    assert main(["--check"], tmp_path) == 0
    edited = tmp_path / "crds/gpupools.yaml"
    edited.write_text(edited.read_text().replace("maxLength: 63", "maxLength: 64"))
    (tmp_path / "docs/reference/gpupool.md").unlink()
    (tmp_path / "crds/forgotten.yaml").write_text("kind: Forgotten\n")
    before = {path: path.read_text() for path in tmp_path.rglob("*.*")}
    capsys.readouterr()

    assert main(["--check"], tmp_path) == 1
    assert capsys.readouterr().err.splitlines() == [
        "crds/gpupools.yaml: differs from its source",
        "docs/reference/gpupool.md: missing",
        "crds/forgotten.yaml: no longer generated",
        "run `make generate` and commit the result",
    ]
    assert {path: path.read_text() for path in tmp_path.rglob("*.*")} == before


def test_generating_repairs_stale_files(tmp_path: Path) -> None:
    (tmp_path / "crds").mkdir()
    (tmp_path / "crds/forgotten.yaml").write_text("kind: Forgotten\n")
    write(generated(), tmp_path)
    assert main(["--check"], tmp_path) == 0
