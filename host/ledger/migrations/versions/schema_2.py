"""Measurements tell more, and may be unfit: keys of their JSON, so that the tables stay as they are."""

from __future__ import annotations

revision = "schema_2"
down_revision = "schema_1"


def upgrade() -> None:
    """What schema 1 holds is valid as it is."""
