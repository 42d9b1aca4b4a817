"""torch made to give the same bytes for the same seed, and in good time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

MOST_THREADS = 4
"""The number of threads decides how sums are rounded: equal machines give equal bytes, also with `--jobs`."""


@contextmanager
def repeatable_torch(seed: int) -> Iterator[None]:
    """Up to four cores, a seeded generator, and denormals flushed to zero.

    Small layers meet at a barrier thousands of times a second. `building.py` asks OpenMP to sleep there:
    where threads spin, one other busy process holds a thread of ours and all the others spin for it. On two
    cores beside one busy process, MobileNetV2 took 1.43 s a batch so, and 0.76 s with threads that sleep.

    Denormals appear in the gradients of nearly trained models and make them several times slower. The
    switch belongs to a thread; the threads that OpenMP starts for it inherit it, if they start afterwards.
    """
    torch.set_num_threads(min(MOST_THREADS, len(os.sched_getaffinity(0))))
    torch.set_flush_denormal(True)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            yield
    finally:
        torch.set_flush_denormal(False)
