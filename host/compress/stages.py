"""The stages of a build: train, prune and fine-tune, export, quantize. Each is done once for its key."""

from __future__ import annotations

import io
from functools import cached_property
from pathlib import Path

import onnx
import torch
from torch import nn

from host.compress.architectures import load_model
from host.compress.build_store import BuildStore, write_file
from host.compress.cost import count_cost
from host.compress.data import Split, load_split
from host.compress.export import export_model
from host.compress.pruning import finish_pruning, prune_model
from host.compress.quantization import check_agreement, count_lost_weights, pick_calibration, quantize_model
from host.compress.stripping import serialize_model
from host.compress.training import check_outputs, count_steps, fit
from host.errors import BuildError
from host.plan import PlannedVariant, digest
from host.progress import Progress
from host.specs.record import Record
from host.specs.variant import FineTune, Quantize

PARITY_IMAGES = 64


class Exported(Record):
    """What is known of an exported file that the file itself does not say."""

    params: int
    params_nonzero: int
    macs: int
    sparsity: float


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
        told = None if prune is None else prune.model_dump(mode="json")
        return digest({"prefix": self._planned.prefix, "prune": told})

    @cached_property
    def exported_key(self) -> str:
        return digest({"weights": self.pruned_key, "export": self._variant.export.model_dump(mode="json")})

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
            return model
        self._fit(model, f"training {self._recipe.name}", training.epochs, training.learning_rate)
        _save_weights(model, path)
        return model

    def _fit(self, model: nn.Module, description: str, epochs: int, learning_rate: float) -> None:
        training = self._recipe.training
        if training is None:
            raise BuildError(
                f"{self.name}: fine-tuning needs the recipe's training settings",
                f"Add `training:` to the recipe {self._recipe.name}, or leave out `finetune:`.",
            )
        images = self.split.training
        total = count_steps(len(images), training, epochs)
        with self._progress.track(description, total) as tick:
            fit(model, images, training, epochs=epochs, learning_rate=learning_rate, tick=tick)

    def prune(self) -> tuple[nn.Module, float]:
        """The trained model, pruned and fine-tuned as the variant says; and the reached sparsity.

        Pruning itself takes a second and follows from the trained weights, so it is always done; what
        fine-tuning made of the model is kept.
        """
        model = self.train()
        prune = self._variant.prune
        if prune is None:
            return model, 0.0
        sparsity = prune_model(model, prune, self._recipe.input.shape)
        finetune = prune.finetune
        path = self._store.stage("finetuned", self.pruned_key, ".pt")
        if finetune is not None and not path.is_file():
            self._finetune(model, finetune)
        finish_pruning(model, prune)
        if finetune is not None and path.is_file():
            _load_weights(model, path)
        elif finetune is not None:
            _save_weights(model, path)
        return model, sparsity

    def _finetune(self, model: nn.Module, finetune: FineTune) -> None:
        self._fit(model, f"fine-tuning {self.name}", finetune.epochs, finetune.learning_rate)

    def export(self) -> tuple[Path, Exported]:
        """The variant's float32 file, checked against torch on test images; and what it costs on paper."""
        path = self._store.stage("exported", self.exported_key, ".onnx")
        facts = path.with_suffix(".json")
        if path.is_file() and facts.is_file():
            return path, Exported.model_validate_json(facts.read_bytes())
        model, sparsity = self.prune()
        with self._progress.track(f"exporting {self.name}"):
            cost = count_cost(model, self._recipe.input.shape)
            exported = Exported(**cost._asdict(), sparsity=sparsity)
            images = self.split.test.take(PARITY_IMAGES).x
            data = serialize_model(export_model(model, images, self._variant.export.opset, self.name))
        write_file(path, data)
        write_file(facts, exported.model_dump_json().encode())
        return path, exported

    def finish(self) -> tuple[Path, Exported]:
        """The variant's file as it will be deployed."""
        source, exported = self.export()
        quantize = self._variant.quantize
        if quantize is None:
            return source, exported
        path = self._store.stage("quantized", self._planned.id, ".onnx")
        if not path.is_file():
            write_file(path, self._quantize(source, quantize))
        lost = count_lost_weights(source, onnx.load(path))
        return path, exported.model_copy(update={"params_nonzero": exported.params_nonzero - lost})

    def _quantize(self, source: Path, quantize: Quantize) -> bytes:
        with self._progress.track(f"quantizing {self.name}"):
            images = pick_calibration(self.split.training.x, quantize)
            data = serialize_model(quantize_model(source, images, quantize))
            check_agreement(source, data, self.split.test.x, self.name)
        return data


def _save_weights(model: nn.Module, path: Path) -> None:
    buffer = io.BytesIO()  # not the file: torch would put its name into the archive
    torch.save(model.state_dict(), buffer)
    write_file(path, buffer.getvalue())


def _load_weights(model: nn.Module, path: Path) -> None:
    model.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    model.eval()
