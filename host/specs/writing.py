"""Records to YAML, as a person would write it."""

from __future__ import annotations

from typing import Any

import yaml
from pydantic import BaseModel


def to_yaml(record: BaseModel) -> str:
    """The record with every default filled in; what is not set is left out."""
    return dump_yaml(record.model_dump(mode="json", exclude_none=True))


def dump_yaml(document: Any) -> str:
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=100, default_flow_style=None)
