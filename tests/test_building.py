from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from fcntl import LOCK_EX, flock
from pathlib import Path
from threading import Event, Thread
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from host.compress.building import build_variants, is_built, load_artifact
from host.compress.onnx_cost import count_macs, count_parameters
from host.compress.weight_packing import unpack_model
from host.errors import BuildError
from host.plan import PlannedVariant
from host.progress import Silent, Tick
from host.specs.artifact import Artifact
from tests.tiny_plans import CHANNEL, DENSE, INT8, WEIGHT, Watched, make_recipe, plan_variants

HERE = Path(__file__).parent
CHAIN = (
    DENSE,
    {"prune": WEIGHT},
    {"prune": {**CHANNEL, "finetune": {"epochs": 2}}, "quantize": [None, {"scheme": "static-int8"}]},
    INT8,
)


@pytest.fixture(autouse=True)
def _beside_the_factories(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(HERE)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(HERE)
        return Built(tmp_path_factory.mktemp("cache"))


class Built:
    """Five variants of the tiny recipe, and what was shown while they were built."""

    def __init__(self, cache: Path) -> None:
        self.cache = cache
        self.planned = plan_variants(make_recipe(), *CHAIN)
        self.progress = Watched()
        self.artifacts = build_variants(self.planned, cache, 100, self.progress)
        self.by_label = {artifact.variant: artifact for artifact in self.artifacts}


def open_session(artifact: Artifact) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(str(artifact.blob.path), providers=["CPUExecutionProvider"])


def test_artifacts_stand_in_the_order_of_the_plan(built: Built) -> None:
    assert [artifact.variant_id for artifact in built.artifacts] == [item.id for item in built.planned]
    labels = ["dense", "weight-l1-50", "channel-l2-50", "channel-l2-50+int8", "int8"]
    assert [artifact.variant for artifact in built.artifacts] == labels


def test_each_stage_is_done_once_for_all_variants_that_share_it(built: Built) -> None:
    kinds = [description.split()[0] for description in built.progress.tracked]
    assert kinds.count("training") == 1
    assert kinds.count("fine-tuning") == 1
    assert kinds.count("exporting") == 3
    assert kinds.count("quantizing") == 2


def test_training_is_tracked_batch_by_batch_to_its_total(built: Built) -> None:
    at = next(i for i, told in enumerate(built.progress.tracked) if told.startswith("training"))
    assert built.progress.done[at] == built.progress.totals[at] == 3 * 45  # 1437 images in batches of 32


def test_every_variant_runs_at_any_batch_and_learned_something(built: Built) -> None:
    for artifact in built.artifacts:
        assert artifact.inputs[0].shape == (None, 1, 8, 8)
        session = open_session(artifact)
        for batch in (1, 7):
            x = np.zeros((batch, 1, 8, 8), dtype=np.float32)
            assert session.run(None, {artifact.inputs[0].name: x})[0].shape == (batch, 10)
        assert artifact.accuracy is not None
        assert artifact.accuracy > 0.7


def test_accuracy_is_over_the_whole_test_set(built: Built) -> None:
    for artifact in built.artifacts:
        assert artifact.accuracy is not None
        assert artifact.accuracy * 360 == pytest.approx(round(artifact.accuracy * 360), abs=1e-6)


def test_the_reference_is_what_the_file_answers_to_the_evaluation_images(built: Built) -> None:
    for artifact in built.artifacts:
        assert artifact.evaluation is not None
        assert artifact.reference is not None
        images = np.load(artifact.evaluation.path)
        assert (images["x"].dtype, images["x"].shape) == (np.float32, (100, 1, 8, 8))
        assert (images["y"].dtype, images["y"].shape) == (np.int64, (100,))
        outputs = open_session(artifact).run(None, {"input": images["x"]})[0]
        expected = np.load(artifact.reference.path)["outputs"]
        assert expected.dtype == np.float32
        np.testing.assert_allclose(outputs, expected, atol=1e-4)
    assert len({artifact.evaluation for artifact in built.artifacts}) == 1


def test_costs_on_paper_are_those_of_the_files(built: Built) -> None:
    """Batch normalisation is folded into the convolutions on export; only its parameters differ."""
    for label in ("dense", "channel-l2-50"):
        artifact = built.by_label[label]
        model = onnx.load(artifact.blob.path)
        assert artifact.macs == count_macs(model, {"input": (1, 1, 8, 8)})
        norms = 2 * sum(len_of_bias(model))
        folded = norms // 2  # the file holds one bias for what were a scale and a shift
        assert count_parameters(model).total == (artifact.params or 0) - folded


def len_of_bias(model: onnx.ModelProto) -> list[int]:
    """Output channels of the convolutions."""
    sizes = {tensor.name: tensor.dims[0] for tensor in model.graph.initializer if tensor.dims}
    return [sizes[node.input[1]] for node in model.graph.node if node.op_type == "Conv"]


def test_int8_has_its_parents_parameters_and_macs(built: Built) -> None:
    parent, child = built.by_label["channel-l2-50"], built.by_label["channel-l2-50+int8"]
    assert (child.params, child.macs, child.sparsity) == (parent.params, parent.macs, parent.sparsity)
    assert child.params_nonzero is not None
    assert parent.params_nonzero is not None
    assert 0 <= parent.params_nonzero - child.params_nonzero < 0.1 * parent.params_nonzero
    assert (child.precision, parent.precision) == ("int8", "fp32")
    assert child.blob.size < parent.blob.size


def test_weight_sparsity_is_in_the_file(built: Built) -> None:
    artifact = built.by_label["weight-l1-50"]
    assert artifact.sparsity_target == 0.5
    assert artifact.sparsity == pytest.approx(0.5, abs=0.001)
    weights = [
        onnx.numpy_helper.to_array(tensor)
        for tensor in onnx.load(artifact.blob.path).graph.initializer
        if len(tensor.dims) >= 2
    ]
    zeros = sum(int((weight == 0).sum()) for weight in weights) / sum(weight.size for weight in weights)
    assert zeros == pytest.approx(artifact.sparsity, abs=0.001)
    assert artifact.params_nonzero is not None
    assert artifact.params is not None
    assert artifact.params_nonzero < artifact.params


def test_removed_channels_are_gone_from_the_file(built: Built) -> None:
    dense, pruned = built.by_label["dense"], built.by_label["channel-l2-50"]
    assert pruned.sparsity == pytest.approx(0.5)
    assert len_of_bias(onnx.load(dense.blob.path)) == [16, 32]
    assert len_of_bias(onnx.load(pruned.blob.path)) == [8, 16]
    assert pruned.macs is not None
    assert dense.macs is not None
    assert pruned.macs < 0.4 * dense.macs


def test_no_file_tells_where_it_was_made(built: Built) -> None:
    for artifact in built.artifacts:
        data = artifact.blob.path.read_bytes()
        for trace in (str(HERE.parent), "site-packages", "/tmp", "stack_trace", "pkg.torch", '.py"'):
            assert trace.encode() not in data


def test_a_second_build_does_nothing_and_needs_no_torch(built: Built) -> None:
    progress = Watched()
    assert build_variants(built.planned, built.cache, 100, progress) == built.artifacts
    assert progress.tracked == []
    plans = json.dumps([item.model_dump(mode="json") for item in built.planned])
    program = (
        "import json, sys; from pathlib import Path\n"
        "from host.compress.building import build_variants, is_built, load_artifact\n"
        "from host.compress.feeds import write_feeds\n"
        "from host.compress.origins import describe_origin\n"
        "from host.plan import PlannedVariant; from host.progress import Silent\n"
        "plans = [PlannedVariant.model_validate(plan) for plan in json.loads(sys.argv[1])]\n"
        "cache = Path(sys.argv[2]); describe_origin(plans[0].recipe)\n"
        "assert all(is_built(plan, cache) for plan in plans)\n"
        "artifacts = build_variants(plans, cache, 100, Silent())\n"
        "assert artifacts == tuple(load_artifact(plan, cache) for plan in plans)\n"
        "write_feeds(artifacts[0], 1, {}, cache / 'feeds')\n"
        "print(sorted({'torch', 'torchvision', 'sklearn', 'onnxruntime'} & set(sys.modules)))\n"
    )
    words = [sys.executable, "-c", program, plans, str(built.cache)]
    ran = subprocess.run(
        words, capture_output=True, text=True, check=True, env={"PYTHONPATH": f"{HERE.parent}:{HERE}"}
    )
    assert ran.stdout.strip() == "[]"


def test_another_number_of_evaluation_images_builds_nothing_again(
    built: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    progress = Watched()
    (artifact,) = build_variants(built.planned[:1], built.cache, 50, progress)
    assert progress.tracked == ["evaluating tiny dense"]
    assert artifact.evaluation is not None
    assert len(np.load(artifact.evaluation.path)["y"]) == 50
    (whole,) = build_variants(built.planned[:1], built.cache, 10_000, progress)
    assert whole.evaluation is not None
    assert len(np.load(whole.evaluation.path)["y"]) == 360
    assert build_variants(built.planned[:1], built.cache, 100, progress) == built.artifacts[:1]


def test_a_moved_cache_is_still_a_cache(built: Built, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    subprocess.run(["cp", "-r", str(built.cache), str(moved)], check=True)
    assert load_artifact(built.planned[0], moved).blob.path.is_relative_to(moved)


@pytest.mark.parametrize("damage", [b"", b"x"])
def test_a_damaged_file_is_not_taken_for_a_build(built: Built, tmp_path: Path, damage: bytes) -> None:
    copy = tmp_path / "copy"
    subprocess.run(["cp", "-r", str(built.cache), str(copy)], check=True)
    path = load_artifact(built.planned[0], copy).blob.path
    data = path.read_bytes()
    path.write_bytes(damage + data[1:] if damage else damage)
    assert not is_built(built.planned[0], copy)
    with pytest.raises(BuildError, match="tiny dense is not built"):
        load_artifact(built.planned[0], copy)


def test_two_builds_in_different_folders_have_equal_bytes(built: Built, tmp_path: Path) -> None:
    again = build_variants(built.planned, tmp_path / "elsewhere", 100, Silent())
    assert [artifact.blob.sha256 for artifact in again] == [one.blob.sha256 for one in built.artifacts]
    assert [artifact.reference for artifact in again if artifact.reference is None] == []
    for one, other in zip(again, built.artifacts, strict=True):
        assert one.model_dump(exclude=PATHS) == other.model_dump(exclude=PATHS)


PATHS: Any = {"blob": {"path"}, "packed": {"path"}, "evaluation": {"path"}, "reference": {"path"}}


@pytest.mark.parametrize("stage", ["fine-tuning", "exporting tiny channel", "quantizing"])
def test_an_interrupted_build_goes_on_after_the_last_finished_stage(tmp_path: Path, stage: str) -> None:
    prune = {**CHANNEL, "finetune": {"epochs": 1}}
    planned = plan_variants(make_recipe(), {"prune": prune, **INT8})
    before, after = Watched(broken=stage), Watched()
    with pytest.raises(KeyboardInterrupt):
        build_variants(planned, tmp_path, 10, before)
    assert not is_built(planned[0], tmp_path)
    build_variants(planned, tmp_path, 10, after)
    order = ["training tiny", "fine-tuning", "exporting", "quantizing", "packing", "evaluating"]
    told = [description.split()[0] for description in before.tracked + after.tracked]
    assert told == [name.split()[0] for name in order]
    assert after.tracked[0].startswith(stage)
    assert not [*tmp_path.rglob("*.part"), *tmp_path.rglob("*.partial")]


def test_a_training_that_was_killed_goes_on_at_its_last_epoch(tmp_path: Path) -> None:
    class Broken(Watched):
        @contextmanager
        def track(self, description: str, total: float | None = None) -> Iterator[Tick]:
            with super().track(description, total) as tick:

                def stop(advance: float = 1, note: str = "") -> None:
                    tick(advance, note)
                    if note.startswith("epoch 3/3"):
                        raise KeyboardInterrupt

                yield stop

    planned = plan_variants(make_recipe(), DENSE)
    with pytest.raises(KeyboardInterrupt):
        build_variants(planned, tmp_path / "cut", 10, Broken())
    progress = Watched()
    (resumed,) = build_variants(planned, tmp_path / "cut", 10, progress)
    assert progress.done[0] == 3 * 45
    (whole,) = build_variants(planned, tmp_path / "whole", 10, Silent())
    assert resumed.blob.sha256 == whole.blob.sha256


def test_three_sizes_stand_side_by_side(built: Built) -> None:
    for artifact in built.artifacts:
        assert artifact.gzip_bytes is not None
        assert artifact.packed is not None
        assert artifact.packed_parts is not None
        assert sum(artifact.packed_parts.model_dump().values()) == artifact.packed.size
        assert unpack_model(artifact.packed.path.read_bytes()) == artifact.blob.path.read_bytes()
    dense, masked = built.by_label["dense"], built.by_label["weight-l1-50"]
    assert masked.blob.size == pytest.approx(dense.blob.size, rel=0.001)
    assert dense.packed is not None
    assert masked.packed is not None
    assert masked.packed.size < 0.7 * dense.packed.size


def test_a_build_waits_for_another_one_of_the_same_cache(built: Built) -> None:
    waited = Event()

    class Waiting(Watched):
        def say(self, message: str) -> None:
            super().say(message)
            waited.set()

    progress = Waiting()
    results: list[tuple[Artifact, ...]] = []
    thread = Thread(target=lambda: results.append(build_variants(built.planned, built.cache, 100, progress)))
    with (built.cache / "builds" / "lock").open("w") as held:
        flock(held, LOCK_EX)
        thread.start()
        assert waited.wait(30)
        assert results == []
    thread.join(30)
    assert results == [built.artifacts]
    assert progress.said == ["waiting for another build in this workspace"]


def test_an_export_that_disagrees_with_torch_names_variant_and_difference(tmp_path: Path) -> None:
    recipe = make_recipe(architecture="tiny_models:make_wavering")
    with pytest.raises(BuildError, match=r"tiny dense.*largest difference is 0\.25") as caught:
        build_variants(plan_variants(recipe, DENSE), tmp_path, 10, Silent())
    assert "tiny dense" in caught.value.message
    assert not list(tmp_path.rglob("*.onnx"))


@pytest.mark.parametrize(
    ("changes", "variant", "message"),
    [
        ({"architecture": "tiny_models:make_number"}, DENSE, "returned a int"),
        ({"architecture": "tiny_models:make_nothing"}, DENSE, "cannot be imported"),
        ({"arguments": {"depth": 3}}, DENSE, "does not take the recipe's arguments"),
        ({"arguments": {"classes": 4}}, DENSE, r"answers with \[2, 4\]"),
        ({"training": {"epochs": 1, "learning_rate": 1e9}}, DENSE, "diverged in epoch 1"),
        ({"training": None}, {"prune": {**WEIGHT, "finetune": {"epochs": 1}}}, "needs the recipe's training"),
        ({"arguments": {"width": 3}}, {"prune": {**CHANNEL, "round_to": 8}}, "no channel was removed|lower"),
        (
            {"training": None},
            {"quantize": {"scheme": "static-int8", "calibration_images": 5000}},
            "5000 asked for",
        ),
    ],
)
def test_what_cannot_be_built_is_an_error_that_says_why(
    changes: dict[str, Any], variant: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(BuildError) as caught:
        build_variants(plan_variants(make_recipe(**changes), variant), tmp_path, 10, Silent())
    assert re.search(message, str(caught.value))
    assert "torch.Size" not in str(caught.value)


def test_a_label_that_changes_does_not_build_again(built: Built) -> None:
    renamed = PlannedVariant(**{**dict(built.planned[0]), "label": "dense#1234"})
    assert load_artifact(renamed, built.cache).variant == "dense#1234"


def test_what_fails_before_a_stage_names_the_variant_too(tmp_path: Path) -> None:
    variant = {"quantize": {"scheme": "static-int8", "calibration_images": 99999}}
    with pytest.raises(BuildError, match=r"^tiny int8: calibration_images: 99999 asked for"):
        build_variants(plan_variants(make_recipe(), variant), tmp_path, 10, Watched())


def test_an_input_that_no_memory_holds_is_an_error_that_names_the_variant(tmp_path: Path) -> None:
    recipe = make_recipe(input={"shape": [1, 10**6, 10**6]})
    with pytest.raises(BuildError, match=r"^tiny dense: this machine's memory does not hold it"):
        build_variants(plan_variants(recipe, {}), tmp_path, 10, Watched())
