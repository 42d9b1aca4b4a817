"""The shape that all records share: frozen, typed, and closed to unknown keys."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema


@dataclass(frozen=True)
class Matching(AfterValidator):
    """A check of a text, whose pattern and meaning a JSON Schema tells too."""

    pattern: str = ""
    what: str = ""

    def __get_pydantic_json_schema__(
        self, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {**handler(core_schema), "pattern": f"^(?:{self.pattern})$", "description": self.what}


def matching(pattern: str, what: str) -> AfterValidator:
    """A check that the whole text matches; the fault says in words what was expected."""
    compiled = re.compile(pattern)

    def check(text: str) -> str:
        if not compiled.fullmatch(text):
            raise ValueError(f"expected {what}")
        return text

    return Matching(check, pattern, what)


Name = Annotated[
    str,
    matching(
        r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", "up to 64 letters, digits and . _ -, a letter or digit first"
    ),
]
"""What may name a recipe, profile, device or label: safe as a file name, never an option or a path."""


class Record(BaseModel):
    """A frozen record; lists in it are tuples."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
