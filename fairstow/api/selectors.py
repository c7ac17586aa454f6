"""Label selectors as Kubernetes writes them, for the kinds that name nodes or pods by labels."""

import re
from typing import Annotated, Literal

from pydantic import Field

from fairstow.api.model import Model
from fairstow.api.rules import Rule

_LABEL_KEY = r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$"
_LABEL_VALUE = r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$"


def _is_label_key(text: str) -> bool:
    return len(text) <= 317 and re.fullmatch(_LABEL_KEY, text) is not None


LabelKey = Annotated[str, Field(min_length=1, max_length=317, pattern=_LABEL_KEY)]
LabelValue = Annotated[str, Field(max_length=63, pattern=_LABEL_VALUE)]


class LabelSelectorRequirement(Model):
    """One requirement on labels."""

    validations = (
        Rule(
            cel="self.operator in ['In', 'NotIn'] ? size(self.values) > 0 : size(self.values) == 0",
            message="values are given with operator In or NotIn, and only then",
            holds=lambda self: (self.operator in ("In", "NotIn")) == bool(self.values),
        ),
    )

    key: Annotated[LabelKey, Field(description="The label's key.")]
    operator: Annotated[
        Literal["In", "NotIn", "Exists", "DoesNotExist"],
        Field(description="How the label is compared: In, NotIn, Exists or DoesNotExist."),
    ]
    values: Annotated[
        tuple[Annotated[LabelValue, Field(description="A label value.")], ...],
        Field(max_length=64, description="The values that In and NotIn compare with."),
    ] = ()


class LabelSelector(Model):
    """Which objects, by their labels; all requirements must hold, an empty selector takes all."""

    match_labels: Annotated[
        dict[str, Annotated[LabelValue, Field(description="The value the label must have.")]],
        Field(max_length=32, description="Labels that must be there with exactly these values."),
        Rule(
            cel=f"self.all(key, size(key) <= 317 && key.matches('{_LABEL_KEY}'))",
            message="a key of matchLabels isn't a label key: write name or prefix/name",
            holds=lambda self: all(_is_label_key(key) for key in self),
        ),
    ] = Field(default_factory=dict)
    match_expressions: Annotated[
        tuple[LabelSelectorRequirement, ...],
        Field(max_length=32, description="Further requirements on labels."),
    ] = ()
