from __future__ import annotations

from pathlib import Path

from host.picks import pick_builds
from host.specs.artifact import Artifact, Blob


def make_artifact(variant: str, accuracy: float | None, packed: int | None) -> Artifact:
    blob = Blob(path=Path("x"), sha256="0" * 64, size=packed or 0)
    return Artifact(
        model="m",
        variant=variant,
        variant_id=variant,
        blob=blob,
        inputs=(),
        opset=18,
        precision="fp32",
        accuracy=accuracy,
        packed=blob if packed is not None else None,
    )


DENSE = make_artifact("dense", 0.92, 8_000_000)
LARGE = make_artifact("large", 0.93, 1_000_000)
MIDDLE = make_artifact("middle", 0.92, 150_000)
SMALL = make_artifact("small", 0.80, 100_000)


def test_the_three_picks_are_the_best_the_smallest_and_the_one_nearest_to_both() -> None:
    picks = pick_builds([DENSE, LARGE, MIDDLE, SMALL], {"dense"})
    assert picks is not None
    assert [item.variant for item in picks] == ["large", "small", "middle"]


def test_a_variant_below_the_least_accuracy_is_never_picked() -> None:
    picks = pick_builds([DENSE, LARGE, MIDDLE, SMALL], {"dense"}, min_accuracy=0.9)
    assert picks is not None
    assert picks.smallest.variant == "middle"


def test_dense_is_no_candidate_and_one_alone_is_no_choice() -> None:
    assert pick_builds([DENSE, LARGE], {"dense"}) is None
    assert pick_builds([DENSE, LARGE, make_artifact("unknown", None, None)], {"dense"}) is None


def test_equal_variants_are_all_the_same_pick() -> None:
    picks = pick_builds([DENSE, LARGE, LARGE], {"dense"})
    assert picks is not None
    assert len(set(picks)) == 1
