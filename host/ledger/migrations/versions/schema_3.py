"""Measurements tell of the runtime, of power and of the scenario: keys of their JSON again."""

from __future__ import annotations

revision = "schema_3"
down_revision = "schema_2"


def upgrade() -> None:
    """What schema 2 holds is valid as it is."""
