"""The stages of a build: train, prune step by step, export, quantize. Each is done once for its key."""

from __future__ import annotations

import copy
import gzip
import io
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import onnx
import torch
from torch import nn

from host.compress.architectures import load_model
from host.compress.build_store import BuildStore, write_file
from host.compress.cost import count_cost
from host.compress.data import Floats, Split, load_split
from host.compress.evaluation import run_images, score_accuracy
from host.compress.export import export_model
from host.compress.fake_quantization import prepare_mixed
from host.compress.mixed_export import export_mixed
from host.compress.pruning import hold_zeros, make_pruner, plan_sparsities
from host.compress.quantization import (
    check_above_chance,
    check_agreement,
    count_lost_weights,
    pick_calibration,
    quantize_file,
)
from host.compress.sensitivity import Excluded, find_excluded_file, find_excluded_mixed
from host.compress.stripping import serialize_model
from host.compress.training import (
    Teacher,
    check_outputs,
    count_steps,
    fit,
    measure_accuracy,
    repeatable_torch,
)
from host.compress.weight_packing import pack_model
from host.errors import BuildError
from host.plan import PlannedVariant, digest
from host.progress import Progress
from host.specs.artifact import PackedParts, Step
from host.specs.recipe import Training
from host.specs.record import Record
from host.specs.variant import FineTune, Prune, Quantize

PARITY_IMAGES = 64
AGREEMENT_IMAGES = 2000


class Pruned(Record):
    """What pruning came to: the reached sparsity, its steps where there were several, and what it decided."""

    sparsity: float = 0.0
    steps: tuple[Step, ...] = ()
    notes: tuple[str, ...] = ()


class Exported(Record):
    """What is known of an exported file that the file itself does not say."""

    params: int
    params_nonzero: int
    macs: int
    pruned: Pruned


class Packing(Record):
    """The sizes of a finished file beside its own."""

    gzip_bytes: int
    parts: PackedParts


@dataclass(frozen=True)
class Finished:
    """A variant's file as it will be deployed, and the same file packed."""

    path: Path
    packed: Path
    packing: Packing
    exported: Exported
    notes: tuple[str, ...]


class Stages:
    """The stages of one variant. A finished stage is found in the store, and never done twice."""

    def __init__(self, planned: PlannedVariant, store: BuildStore, progress: Progress) -> None:
        self._planned = planned
        self._recipe = planned.recipe
        self._variant = planned.variant
        self._store = store
        self._progress = progress

    @property
    def name(self) -> str:
        return f"{self._recipe.name} {self._planned.label}"

    @cached_property
    def split(self) -> Split:
        return load_split(self._recipe)

    @cached_property
    def pruned_key(self) -> str:
        """Names the weights that are exported: trained, then pruned."""
        prune = self._variant.prune
        told = None if prune is None else prune.model_dump(mode="json", exclude_defaults=True)
        return digest({"prefix": self._planned.prefix, "prune": told})

    @cached_property
    def exported_key(self) -> str:
        export = self._variant.export.model_dump(mode="json")
        return digest({"weights": self.pruned_key, "export": export})

    def train(self) -> nn.Module:
        """The recipe's trained model, or its checkpoint's where there is nothing to train."""
        model = load_model(self._recipe)
        training = self._recipe.training
        if training is None:
            check_outputs(model, self.split.training)
            return model.eval()
        path = self._store.stage("trained", self._planned.prefix, ".pt")
        if path.is_file():
            _load_weights(model, path)
        else:
            self._fit(model, f"training {self._recipe.name}", training, path)
        return model

    def _fit(
        self,
        model: nn.Module,
        description: str,
        training: Training,
        path: Path,
        finetune: FineTune | None = None,
    ) -> None:
        """Train, and keep the result at `path`; a training that was interrupted goes on at its last epoch.

        Fine-tuning holds zeros, and may learn from the trained model.
        """
        images = self.split.training
        teacher = None
        if finetune is not None and finetune.distill is not None:
            teacher = Teacher(self.train(), finetune.distill)
        held = [] if finetune is None else hold_zeros(model)
        resume = path.with_suffix(".partial")
        with self._progress.track(description, count_steps(len(images), training)) as tick:
            fit(model, images, training, tick=tick, teacher=teacher, held=held, resume=resume)
        _save_weights(model, path)
        resume.unlink(missing_ok=True)

    def finetune(self, model: nn.Module, finetune: FineTune, path: Path, what: str, where: str = "") -> None:
        """The model fine-tuned; what became of it is kept at `path`, and only done where nothing is there."""
        if path.is_file():
            _load_weights(model, path)
            return
        training = self._recipe.training
        if training is None:
            raise BuildError(
                f"{self.name}: fine-tuning needs the recipe's training settings",
                f"Add `training:` to the recipe {self._recipe.name}, or leave out `finetune:`.",
            )
        self._fit(model, f"{what} {self.name}{where}", finetune.over(training), path, finetune)

    def prune(self) -> tuple[nn.Module, Pruned]:
        """The trained model, pruned and fine-tuned as the variant says, and what came of it.

        Pruning itself takes seconds and follows from the weights before it, so it is always done; what
        fine-tuning made of the model after each step is kept, and so is its accuracy.
        """
        model = self.train()
        prune = self._variant.prune
        if prune is None:
            return model, Pruned()
        with repeatable_torch(prune.seed):
            pruner = make_pruner(model, prune, self.split.training)
        sparsities = plan_sparsities(prune)
        reached, steps = 0.0, []
        for number, asked in enumerate(sparsities, start=1):
            before = copy.deepcopy(model) if prune.max_accuracy_drop is not None else model
            with repeatable_torch(prune.seed):
                after = pruner.prune_to(asked)
            where = "" if len(sparsities) == 1 else f" (step {number} of {len(sparsities)})"
            if prune.finetune is not None:
                path = self._store.stage("finetuned", f"{self.pruned_key}-{number}", ".pt")
                self.finetune(model, prune.finetune, path, "fine-tuning", where)
            if len(sparsities) == 1 and prune.max_accuracy_drop is None:
                return model, Pruned(sparsity=after)
            steps.append(self._judge_step(model, prune, number, after))
            if not steps[-1].is_kept:
                note = self._explain_rollback(steps[-1], prune, number, len(sparsities))
                self._progress.say(f"{self.name}: {note}")
                return before, Pruned(sparsity=reached, steps=tuple(steps), notes=(note,))
            reached = after
        return model, Pruned(sparsity=reached, steps=tuple(steps))

    @cached_property
    def _dense_accuracy(self) -> float:
        """The trained model's accuracy over the validation images."""
        path = self._store.stage("trained", f"{self._planned.prefix}-accuracy", ".json")
        if not path.is_file():
            write_file(path, str(self._measure_accuracy(self.train(), self._recipe.name)).encode())
        return float(path.read_text())

    def _measure_accuracy(self, model: nn.Module, name: str) -> float:
        images = self.split.validation
        with self._progress.track(f"testing {name}", len(images)) as tick, repeatable_torch(0):
            return measure_accuracy(model, images, tick)

    def _judge_step(self, model: nn.Module, prune: Prune, number: int, sparsity: float) -> Step:
        path = self._store.stage("finetuned", f"{self.pruned_key}-{number}", ".json")
        if path.is_file():
            return Step.model_validate_json(path.read_bytes())
        accuracy = self._measure_accuracy(model, f"{self.name} (step {number})")
        limit = prune.max_accuracy_drop
        step = Step(
            **count_cost(model, self._recipe.input.shape)._asdict(),
            sparsity=sparsity,
            accuracy=accuracy,
            is_kept=limit is None or accuracy >= self._dense_accuracy - limit,
        )
        write_file(path, step.model_dump_json().encode())
        return step

    def _explain_rollback(self, step: Step, prune: Prune, number: int, count: int) -> str:
        lost = (self._dense_accuracy - step.accuracy) * 100
        allowed = (prune.max_accuracy_drop or 0) * 100
        back = f"step {number - 1}" if number > 1 else "the dense model"
        return (
            f"step {number} of {count}, to a sparsity of {step.sparsity:.1%}, lost {lost:.2f} points of "
            f"accuracy; max_accuracy_drop allows {allowed:g}: went back to {back}"
        )

    def export(self) -> tuple[Path, Exported]:
        """The variant's float32 file, checked against torch on test images; and what it costs on paper."""
        path = self._store.stage("exported", self.exported_key, ".onnx")
        facts = path.with_suffix(".json")
        if path.is_file() and facts.is_file():
            return path, Exported.model_validate_json(facts.read_bytes())
        model, pruned = self.prune()
        with self._progress.track(f"exporting {self.name}"):
            cost = count_cost(model, self._recipe.input.shape)
            exported = Exported(**cost._asdict(), pruned=pruned)
            images = self.split.test.take(PARITY_IMAGES).x
            data = serialize_model(export_model(model, images, self._variant.export.opset, self.name))
        write_file(path, data)
        write_file(facts, exported.model_dump_json().encode())
        return path, exported

    def finish(self) -> Finished:
        """The variant's file as it will be deployed, packed too."""
        source, exported = self.export()
        quantize = self._variant.quantize
        path, notes = source, exported.pruned.notes
        if quantize is not None:
            path, more = self._quantize(source, quantize)
            lost = count_lost_weights(source, onnx.load(path))
            exported = exported.model_copy(update={"params_nonzero": exported.params_nonzero - lost})
            notes = (*notes, *more)
        packed, packing = self._pack(path)
        return Finished(path, packed, packing, exported, notes)

    def _quantize(self, source: Path, quantize: Quantize) -> tuple[Path, tuple[str, ...]]:
        """The quantized file, and what was decided on the way to it."""
        path = self._store.stage("quantized", self._planned.id, ".onnx")
        facts = path.with_suffix(".json")
        if path.is_file() and facts.is_file():
            return path, tuple(json.loads(facts.read_bytes()))
        images = self._pick_calibration(quantize)
        if quantize.scheme == "mixed":
            data, notes = self._quantize_mixed(source, images, quantize)
        else:
            data, notes = self._quantize_file(source, images, quantize)
        for note in notes:
            self._progress.say(f"{self.name}: {note}")
        write_file(path, data)
        write_file(facts, json.dumps(notes).encode())
        return path, notes

    def _pick_calibration(self, quantize: Quantize) -> Floats:
        images = self.split.training
        return pick_calibration(images.take(quantize.effective_calibration_images).x, quantize)

    def _quantize_file(
        self, source: Path, images: Floats, quantize: Quantize
    ) -> tuple[bytes, tuple[str, ...]]:
        excluded = Excluded((), 0.0)
        if quantize.auto_exclude is not None:
            with self._progress.track(f"finding layers of {self.name} to keep in float"):
                excluded = find_excluded_file(source, images, quantize, self.split.validation)
        with self._progress.track(f"quantizing {self.name}"):
            data = serialize_model(quantize_file(source, images, quantize, excluded=excluded.layers))
            check_agreement(source, data, self.split.test.take(AGREEMENT_IMAGES).x, self.name)
        return data, _explain_excluded(excluded)

    def _quantize_mixed(
        self, source: Path, images: Floats, quantize: Quantize
    ) -> tuple[bytes, tuple[str, ...]]:
        model, _ = self.prune()
        excluded = Excluded((), 0.0)
        if quantize.auto_exclude is not None:
            with self._progress.track(f"finding layers of {self.name} to keep in float"), repeatable_torch(0):
                excluded = find_excluded_mixed(model, quantize, images, self.split.validation)
        with self._progress.track(f"quantizing {self.name}"), repeatable_torch(0):
            prepare_mixed(model, quantize, images, excluded=excluded.layers)
        if quantize.finetune is not None:
            path = self._store.stage("finetuned", f"{self._planned.id}-rounded", ".pt")
            self.finetune(model, quantize.finetune, path, "quantization-aware training of")
        with self._progress.track(f"exporting {self.name}"), repeatable_torch(0):
            few = self.split.test.take(PARITY_IMAGES).x
            data = serialize_model(export_mixed(model, few, self._variant.export.opset, self.name))
            self._check_above_chance(source, data)
        return data, _explain_excluded(excluded)

    def _check_above_chance(self, source: Path, data: bytes) -> None:
        test = self.split.test.take(AGREEMENT_IMAGES)
        before, after = (score_accuracy(run_images(model, test.x), test.y) for model in (source, data))
        check_above_chance(after, before, len(self.split.classes), self.name)

    def _pack(self, source: Path) -> tuple[Path, Packing]:
        """The file packed, from which a board restores it bit for bit."""
        path = self._store.stage("packed", source.stem, ".bbp")
        facts = path.with_suffix(".json")
        if not (path.is_file() and facts.is_file()):
            with self._progress.track(f"packing {self.name}"):
                data = source.read_bytes()
                packed = pack_model(data)
                size = len(gzip.compress(data, compresslevel=9, mtime=0))
            write_file(path, packed.data)
            packing = Packing(gzip_bytes=size, parts=packed.parts)
            write_file(facts, packing.model_dump_json().encode())
        return path, Packing.model_validate_json(facts.read_bytes())


def _explain_excluded(excluded: Excluded) -> tuple[str, ...]:
    if not excluded.layers:
        return ()
    lost = f"{excluded.drop * 100:.2f} points of accuracy are lost even so"
    return (f"kept in float: {', '.join(excluded.layers)}; {lost}",)


def _save_weights(model: nn.Module, path: Path) -> None:
    buffer = io.BytesIO()  # not the file: torch would put its name into the archive
    torch.save(model.state_dict(), buffer)
    write_file(path, buffer.getvalue())


def _load_weights(model: nn.Module, path: Path) -> None:
    model.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    model.eval()
