"""What ncnn answers on this machine. A process of its own: ncnn may crash on a graph that is not right.

    python ncnn_answers.py model.param model.bin feeds.npz answers.npz

`feeds.npz` holds `in0`, `in1`, …, each (items, *shape without the batch); `answers.npz` gets `out0`, `out1`,
… likewise. Where ncnn does not know some of the layers, their names are printed, and nothing is written.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np


def main(param: str, weights: str, feeds: str, answers: str) -> int:
    """The exit code: 0 where `answers` was written."""
    import ncnn  # type: ignore[import-not-found,import-untyped,unused-ignore]  # an extra

    kinds = {line.split()[0] for line in Path(param).read_text().splitlines()[2:]}
    if unknown := sorted(kind for kind in kinds if ncnn.layer_to_index(kind) < 0):
        print(f"ncnn has no {', '.join(unknown)}")
        return 1
    net = ncnn.Net()
    for name in ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic"):
        setattr(net.opt, name, False)
    if net.load_param(param) != 0 or net.load_model(weights) != 0:
        return 1  # it has said why
    with np.load(feeds) as loaded:
        arrays = {name: loaded[name] for name in loaded.files}
    items = range(len(next(iter(arrays.values()))))
    found = [_answer(ncnn, net, {name: one[item] for name, one in arrays.items()}) for item in items]
    stacked = {name: np.stack([one[name] for one in found]) for name in found[0]}
    np.savez(answers, allow_pickle=False, **stacked)
    return 0


def _answer(ncnn: Any, net: Any, feed: dict[str, Any]) -> dict[str, Any]:
    """The outputs for one item by their names in ncnn; empty ones are those it did not compute."""
    extractor = net.create_extractor()
    mats = {name: ncnn.Mat(array).clone() for name, array in feed.items()}
    for name, mat in mats.items():
        extractor.input(name, mat)
    return {name: np.array(extractor.extract(name)[1]) for name in sorted(net.output_names())}


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
