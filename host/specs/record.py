"""The shape that all records share: frozen, typed, and closed to unknown keys."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
"""What may name a recipe, profile, device or label: safe as a file name, never an option or a path."""


class Record(BaseModel):
    """A frozen record; lists in it are tuples."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
