"""The files of a variant, from its weights: exported, quantized, packed. Each is made once for its key."""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import onnx

from host.compress.build_store import BuildStore, write_file
from host.compress.cost import count_cost
from host.compress.data import Floats, Split
from host.compress.evaluation import run_images, score_accuracy
from host.compress.export import export_model
from host.compress.fake_quantization import prepare_mixed
from host.compress.mixed_export import export_mixed
from host.compress.quantization import (
    check_above_chance,
    check_agreement,
    count_lost_weights,
    pick_calibration,
    quantize_file,
)
from host.compress.repeatable import repeatable_torch
from host.compress.sensitivity import Excluded, find_excluded_file, find_excluded_mixed
from host.compress.stripping import serialize_model
from host.compress.weight_packing import pack_model
from host.compress.weights import Pruned, Weights
from host.plan import PlannedVariant, digest
from host.progress import Progress
from host.specs.artifact import PackedParts
from host.specs.record import Record
from host.specs.variant import Quantize

PARITY_IMAGES = 64
AGREEMENT_IMAGES = 2000


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
    """The files of one variant. A finished stage is found in the store, and never done twice."""

    def __init__(self, planned: PlannedVariant, store: BuildStore, progress: Progress) -> None:
        self._planned = planned
        self._recipe = planned.recipe
        self._variant = planned.variant
        self._store = store
        self._progress = progress
        self._weights = Weights(planned, store, progress)
        self.name = self._weights.name

    @property
    def split(self) -> Split:
        return self._weights.split

    @cached_property
    def exported_key(self) -> str:
        export = self._variant.export.model_dump(mode="json")
        return digest({"weights": self._weights.key, "export": export})

    def export(self) -> tuple[Path, Exported]:
        """The variant's float32 file, checked against torch on test images; and what it costs on paper."""
        path = self._store.stage("exported", self.exported_key, ".onnx")
        facts = path.with_suffix(".json")
        if path.is_file() and facts.is_file():
            return path, Exported.model_validate_json(facts.read_bytes())
        model, pruned = self._weights.prune()
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
        model, _ = self._weights.prune()
        excluded = Excluded((), 0.0)
        if quantize.auto_exclude is not None:
            with self._progress.track(f"finding layers of {self.name} to keep in float"), repeatable_torch(0):
                excluded = find_excluded_mixed(model, quantize, images, self.split.validation)
        with self._progress.track(f"quantizing {self.name}"), repeatable_torch(0):
            prepare_mixed(model, quantize, images, excluded=excluded.layers)
        if quantize.finetune is not None:
            path = self._store.stage("finetuned", f"{self._planned.id}-rounded", ".pt")
            self._weights.finetune(model, quantize.finetune, path, "quantization-aware training of")
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
