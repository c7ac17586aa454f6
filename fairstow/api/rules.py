"""Validation rules that a schema keyword can't state, each declared once for both its judges.

The API server evaluates a rule's CEL expression, pydantic its Python predicate; both give the same
message. Used by the models of fairstow.api; tools/generate writes the CEL half into the CRDs.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

VALIDATIONS = "x-kubernetes-validations"


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One rule, either in a model's `validations` or as metadata of an Annotated field.

    `cel` sees the value as `self` (CRD validation rules, KEP-2876). `holds` is the same test in
    Python; it is None for a transition rule (one that mentions oldSelf), which only the API server
    can judge because only it has both versions of the object.
    """

    cel: str
    message: str
    holds: Callable[[Any], bool] | None = None

    def check(self, value: Any) -> None:
        """Raise the rule's message (pydantic error type `rule`) if `value` breaks the rule."""
        if self.holds is not None and not self.holds(value):
            raise PydanticCustomError("rule", "{message}", {"message": self.message})

    def as_validation(self) -> dict[str, str]:
        """Return the entry of x-kubernetes-validations."""
        return {"rule": self.cel, "message": self.message}

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        schema = handler(source)
        if self.holds is None:
            return schema

        def checked(value: Any) -> Any:
            self.check(value)
            return value

        return core_schema.no_info_after_validator_function(checked, schema)

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        json_schema = dict(handler(schema))
        json_schema[VALIDATIONS] = [*json_schema.get(VALIDATIONS, []), self.as_validation()]
        return json_schema
