"""From a recipe to a torch module with its starting weights."""

from __future__ import annotations

import importlib
import inspect
import pickle
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from host.compress.origins import TORCHVISION, find_checkpoint, search_folders
from host.compress.user_code import blame_code
from host.compress.vision_ops import build_classifier, define_missing_ops
from host.errors import BuildError
from host.specs.recipe import Recipe


def load_model(recipe: Recipe) -> torch.nn.Module:
    """The recipe's model with its checkpoint's weights, or fresh ones that follow from the training seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0 if recipe.training is None else recipe.training.seed)
        model = build_architecture(recipe)
    if recipe.checkpoint is not None:
        load_checkpoint(model, recipe.checkpoint)
    return model


def build_architecture(recipe: Recipe) -> torch.nn.Module:
    """The module that the recipe's factory makes. Raises BuildError where it makes something else."""
    module, _, name = recipe.architecture.partition(":")
    if module == TORCHVISION:
        with blame_code(f"{recipe.architecture} cannot be made"):
            return build_classifier(name, recipe.arguments)
    factory = find_factory(module, name)
    try:
        inspect.signature(factory).bind(**recipe.arguments)
    except TypeError as error:
        raise BuildError(f"{recipe.architecture} does not take the recipe's arguments: {error}") from error
    with blame_code(f"{recipe.architecture} failed"):
        model = factory(**recipe.arguments)
    if not isinstance(model, torch.nn.Module):
        raise BuildError(f"{recipe.architecture} returned a {type(model).__name__}, not a torch.nn.Module")
    return model


def find_factory(module: str, name: str) -> Callable[..., Any]:
    """The user's function, from a module of the current folder, the workspace or the installed packages."""
    define_missing_ops()  # the user's module may import torchvision
    with blame_code(f"the module {module} of the architecture cannot be run"), _import_from_workspace():
        try:
            found = getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError) as error:
            looked = " and ".join(str(folder) for folder in search_folders())
            raise BuildError(
                f"the architecture {module}:{name} cannot be imported: {error}", f"Looked in {looked} first."
            ) from error
    if not callable(found):
        raise BuildError(f"the architecture {module}:{name} is not a function or class")
    factory: Callable[..., Any] = found
    return factory


@contextmanager
def _import_from_workspace() -> Iterator[None]:
    before = list(sys.path)
    sys.path[:0] = [str(folder) for folder in search_folders()]
    try:
        yield
    finally:
        sys.path[:] = before


def _tell_reason(error: Exception) -> str:
    """The line that says why; around it torch advises to run the pickle's code, which we never do."""
    reason = str(error).rpartition("WeightsUnpickler error: ")[2].strip()
    return next(iter(reason.splitlines()), "") or type(error).__name__


def load_checkpoint(model: torch.nn.Module, checkpoint: str) -> None:
    """Put a state dict's tensors into the model. Pickled code is refused; every tensor must fit.

    The keys `state_dict` and `model` that training programs wrap around it are opened, and the prefix
    `module.` of data-parallel training is dropped.
    """
    path = find_checkpoint(checkpoint)
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, LookupError, OSError) as error:
        raise BuildError(
            f"{path}: cannot be read as a state dict: {_tell_reason(error)}",
            "Save it with `torch.save(model.state_dict(), path)`.",
        ) from error
    for key in ("state_dict", "model"):
        if isinstance(loaded, dict) and isinstance(loaded.get(key), dict):
            loaded = loaded[key]
    if not isinstance(loaded, dict):
        raise BuildError(f"{path}: holds a {type(loaded).__name__}, not a state dict")
    try:
        model.load_state_dict({str(key).removeprefix("module."): value for key, value in loaded.items()})
    except RuntimeError as error:
        raise BuildError(f"{path}: does not fit the recipe's architecture: {error}") from error
