"""Arrays as the bytes of an .npz file; equal arrays give equal bytes."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any
from zipfile import ZIP_STORED, ZipFile, ZipInfo

import numpy as np
import numpy.typing as npt


def pack_arrays(arrays: Mapping[str, npt.NDArray[Any]]) -> bytes:
    """The .npz of named arrays, as `numpy.load` reads it.

    Not `numpy.savez`, whose keyword arguments forbid some names that inputs of models have, such as `file`.
    """
    buffer = io.BytesIO()
    with ZipFile(buffer, "w", ZIP_STORED) as archive:
        for name, array in arrays.items():
            member = io.BytesIO()
            np.lib.format.write_array(member, np.ascontiguousarray(array), allow_pickle=False)
            # A ZipInfo made so carries the epoch of zip files, not the time of day.
            archive.writestr(ZipInfo(f"{name}.npy"), member.getvalue())
    return buffer.getvalue()
