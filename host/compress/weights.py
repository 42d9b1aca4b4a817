"""The weights of a variant: trained, then pruned step by step. What took long is kept in the store."""

from __future__ import annotations

import copy
import io
from functools import cached_property
from pathlib import Path

import torch
from torch import nn

from host.compress.architectures import load_model
from host.compress.build_store import BuildStore, write_file
from host.compress.cost import count_cost
from host.compress.data import Split, load_split
from host.compress.pruning import hold_zeros, make_pruner, plan_sparsities
from host.compress.repeatable import repeatable_torch
from host.compress.torch_answers import check_outputs, measure_accuracy
from host.compress.training import Teacher, count_steps, fit
from host.errors import BuildError
from host.plan import PlannedVariant, digest
from host.progress import Progress
from host.specs.artifact import Step
from host.specs.recipe import Training
from host.specs.record import Record
from host.specs.variant import FineTune, Prune


class Pruned(Record):
    """What pruning came to: the reached sparsity, its steps where there were several, and what it decided."""

    sparsity: float = 0.0
    steps: tuple[Step, ...] = ()
    notes: tuple[str, ...] = ()


class Weights:
    """The weights of one variant. A finished training is found in the store, and never done twice."""

    def __init__(self, planned: PlannedVariant, store: BuildStore, progress: Progress) -> None:
        self._planned = planned
        self._recipe = planned.recipe
        self._store = store
        self._progress = progress

    @property
    def name(self) -> str:
        return f"{self._recipe.name} {self._planned.label}"

    @cached_property
    def split(self) -> Split:
        return load_split(self._recipe)

    @cached_property
    def key(self) -> str:
        """Names the weights that are exported: trained, then pruned."""
        prune = self._planned.variant.prune
        told = None if prune is None else prune.model_dump(mode="json", exclude_defaults=True)
        return digest({"prefix": self._planned.prefix, "prune": told})

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
        prune = self._planned.variant.prune
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
                path = self._store.stage("finetuned", f"{self.key}-{number}", ".pt")
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
        path = self._store.stage("finetuned", f"{self.key}-{number}", ".json")
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


def _save_weights(model: nn.Module, path: Path) -> None:
    buffer = io.BytesIO()  # not the file: torch would put its name into the archive
    torch.save(model.state_dict(), buffer)
    write_file(path, buffer.getvalue())


def _load_weights(model: nn.Module, path: Path) -> None:
    model.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    model.eval()
