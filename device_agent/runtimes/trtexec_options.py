"""The command lines for `trtexec`: pure. Which options a release has is asked of its `--help`.

Whatever decides what a time means is said explicitly: TensorRT 11 changed the defaults (it leaves out
transfers, uses CUDA graphs, and spins).
"""

import math
from typing import FrozenSet, List, NamedTuple

from device_agent.runtimes.tensorrt_recipe import Recipe


class Program(NamedTuple):
    """A trtexec, the release of TensorRT that it is of, and the options that it knows."""

    path: str
    version: str
    options: FrozenSet[str]


def is_strongly_typed(options: FrozenSet[str]) -> bool:
    """Whether networks follow the types in the file: on request in 10, always since 11."""
    return "--stronglyTyped" in options or "--fp16" not in options


def list_build_options(options: FrozenSet[str], recipe: Recipe, target: str) -> List[str]:
    """The options that turn a model into an engine file."""
    words = ["--onnx=" + recipe.model, "--saveEngine=" + target]
    words.append("--skipInference" if "--skipInference" in options else "--buildOnly")
    pool = "--memPoolSize=workspace:{}" if "--memPoolSize" in options else "--workspace={}"
    words.append(pool.format(recipe.workspace_mib))
    if "--stronglyTyped" in options:
        words.append("--stronglyTyped")
    elif not is_strongly_typed(options):
        words += ["--" + precision for precision in recipe.precisions]
    if recipe.open_inputs:
        words.append("--optShapes=" + write_shapes(recipe))
    return words


def list_run_options(options: FrozenSet[str], recipe: Recipe, seconds: float, least: int) -> List[str]:
    """The options of a loop: one inference after another, with transfers, without graphs, all exported."""
    words = ["--iterations={}".format(least), "--duration={}".format(math.ceil(seconds)), "--warmUp=0"]
    words += ["--avgRuns=1000", "--exposeDMA"]  # few lines in the log; no transfers during another inference
    # What is a default has no option: --noSpinWait and --useCudaGraph are the ones of the other kind.
    wanted = ("--useSpinWait", "--includeDataTransfers", "--noCudaGraph")
    words += [option for option in wanted if option in options]
    if recipe.open_inputs:
        words.append("--shapes=" + write_shapes(recipe))
    return words


def write_shapes(recipe: Recipe) -> str:
    """`name:1x3x224x224` of each input that is open in the file: trtexec refuses shapes of the others."""
    return ",".join(
        "{}:{}".format(quote_name(name), "x".join(str(extent) for extent in recipe.shapes[name]))
        for name in recipe.open_inputs
    )


def quote_name(name: str) -> str:
    """In single quotes where a colon would end the name."""
    return "'{}'".format(name) if ":" in name else name
