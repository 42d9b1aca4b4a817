"""Raw samples: every nanosecond comes back, and what is no packed round is refused."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from host.ledger.packing import pack_samples, unpack_samples
from tests.made_results import make_rounds


@given(st.lists(st.integers(0, 2**63 - 1), max_size=50))
def test_what_was_packed_is_unpacked(values: list[int]) -> None:
    held = np.array(values, dtype=np.int64)
    assert unpack_samples(len(values), pack_samples(held)).tolist() == values


def test_rounds_of_older_releases_are_unpacked() -> None:
    held = make_rounds()[0]
    assert unpack_samples(len(held), zlib.compress(held.astype("<i8").tobytes(), 6)).tolist() == held.tolist()


def test_a_packed_round_is_smaller_than_a_plain_one_compressed() -> None:
    held = make_rounds(rounds=1, count=2000)[0]
    assert len(pack_samples(held)) < 0.85 * len(zlib.compress(held.tobytes(), 9))


@given(st.binary(max_size=40), st.integers(0, 9))
def test_other_bytes_are_refused(data: bytes, count: int) -> None:
    with pytest.raises(ValueError, match=r"samples were packed|Error"):
        unpack_samples(count, data)


def test_no_more_is_unpacked_than_was_promised() -> None:
    bomb = pack_samples(np.zeros(1 << 20, dtype=np.int64))
    assert len(bomb) < 20_000
    with pytest.raises(ValueError, match="1 samples were packed"):
        unpack_samples(1, bomb)
    with pytest.raises(ValueError, match="2097152 samples were packed"):
        unpack_samples(1 << 21, bomb)
