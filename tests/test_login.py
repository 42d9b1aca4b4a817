from __future__ import annotations

import os

import pytest

from host.login import find_login


def test_a_user_without_a_name_goes_by_the_number(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 2_000_000_000)  # nobody has it in the table of users
    assert find_login() == "2000000000"
    monkeypatch.setenv("LOGNAME", "ann")
    assert find_login() == "ann"
