"""From a recipe to a torch module with its starting weights."""

from __future__ import annotations

import importlib
import inspect
import pickle
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch

from host.compress.origins import TORCHVISION, find_checkpoint, search_folders
from host.compress.user_code import blame_code
from host.compress.vision_ops import build_classifier, define_missing_ops, load_classifier_weights
from host.errors import BuildError
from host.specs.recipe import Recipe

UNREADABLE = (
    pickle.UnpicklingError,
    RuntimeError,
    EOFError,
    ValueError,
    LookupError,
    OSError,
    ImportError,
    AttributeError,
)
"""What torch raises at a file that is no checkpoint, or that names classes which are not there."""


def load_model(recipe: Recipe) -> torch.nn.Module:
    """The recipe's model with its checkpoint's weights, or fresh ones that follow from the training seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0 if recipe.training is None else recipe.training.seed)
        model = build_architecture(recipe)
        if recipe.pretrained is not None:
            load_pretrained(model, recipe)
    if recipe.checkpoint is not None:
        load_checkpoint(model, recipe)
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
    line = next(iter(reason.splitlines()), "").partition(" Please use ")[0]
    return line or type(error).__name__


def load_checkpoint(model: torch.nn.Module, recipe: Recipe) -> None:
    """Put the tensors of the recipe's checkpoint into the model; every tensor must fit."""
    path = find_checkpoint(str(recipe.checkpoint))
    try:
        model.load_state_dict(read_state(path, allow_pickle=recipe.allow_pickle))
    except RuntimeError as error:
        raise BuildError(f"{path}: does not fit the recipe's architecture: {error}") from error


def load_pretrained(model: torch.nn.Module, recipe: Recipe) -> None:
    """Put those tensors of the recipe's pretrained weights into the model that have its names and shapes.

    Raises BuildError where fewer than half of the model's parameters are among them: that is another model.
    """
    state: dict[str, Any]
    if recipe.pretrained == TORCHVISION:
        state = load_classifier_weights(recipe.architecture.partition(":")[2])
    else:
        state = read_state(find_checkpoint(str(recipe.pretrained)), allow_pickle=recipe.allow_pickle)
    own = model.state_dict()
    fitting = {
        name: value
        for name, value in state.items()
        if name in own and isinstance(value, torch.Tensor) and value.shape == own[name].shape
    }
    names = [name for name, _ in model.named_parameters()]
    fresh = [name for name in names if name not in fitting]
    if 2 * len(fresh) > len(names):
        raise BuildError(
            f"pretrained: {recipe.pretrained} has {len(names) - len(fresh)} of the {len(names)} parameters of"
            f" {recipe.architecture}; there is no {fresh[0]} {list(own[fresh[0]].shape)} in it",
            "Take weights of the same architecture, and of the same width.",
        )
    model.load_state_dict(fitting, strict=False)


def read_state(path: Path, *, allow_pickle: bool) -> dict[str, Any]:
    """The state dict in a file.

    The keys `state_dict` and `model` that training programs wrap around it are opened, and the prefixes
    `module.` of data-parallel training and `_orig_mod.` of `torch.compile` are dropped. Pickled code runs
    only if `allow_pickle`; a whole pickled module then gives its own tensors.
    """
    loaded = _read_tensors(path, allow_pickle=allow_pickle)
    for key in ("state_dict", "model"):
        if isinstance(loaded, dict) and isinstance(loaded.get(key), dict | torch.nn.Module):
            loaded = loaded[key]
    if isinstance(loaded, torch.nn.Module):
        loaded = loaded.state_dict()
    if not isinstance(loaded, dict):
        raise BuildError(f"{path}: holds a {type(loaded).__name__}, not a state dict")
    return {
        str(key).removeprefix("module.").removeprefix("_orig_mod."): value for key, value in loaded.items()
    }


def _read_tensors(path: Path, *, allow_pickle: bool) -> Any:
    if path.suffix == ".safetensors":
        try:
            return safetensors.torch.load_file(path)
        except (safetensors.SafetensorError, OSError) as error:
            raise BuildError(f"{path}: cannot be read as safetensors: {error}") from error
    # A pickle names the classes of the user's own modules, and may run code of theirs.
    with blame_code(f"{path}: the code in it failed"), _import_from_workspace():
        try:
            return torch.load(path, map_location="cpu", weights_only=not allow_pickle)
        except UNREADABLE as error:
            hint = "Save it with `torch.save(model.state_dict(), path)`, or as safetensors."
            if "Unsupported global" in str(error):
                hint += " If you trust its maker with this machine, write `allow_pickle: true` in the recipe."
            raise BuildError(
                f"{path}: cannot be read as a state dict: {_tell_reason(error)}", hint
            ) from error
