"""TensorRT by NVIDIA's `trtexec`, for boards whose Python has no bindings: every measurement is a process."""

import os
import shutil
import subprocess
from typing import Any, Dict, List, Optional

from device_agent.runtimes.session import (
    Description,
    Feed,
    Input,
    Opening,
    Runtime,
    RuntimeMissing,
    Session,
)
from device_agent.runtimes.tensorrt_recipe import GPU, Recipe, check_asked, find_engine, write_recipe

_USUAL_PLACE = "/usr/src/tensorrt/bin/trtexec"
_HELP_TIMEOUT_S = 60.0


def find_program() -> Optional[str]:
    """On PATH, or where Debian's package libnvinfer-bin puts it."""
    found = shutil.which("trtexec")
    if found is None and os.access(_USUAL_PLACE, os.X_OK):
        found = _USUAL_PLACE
    return found


def load(path: str) -> Runtime:
    """The runtime behind a trtexec. Raises RuntimeMissing where the program does not run."""
    from device_agent.runtimes.trtexec_options import Program
    from device_agent.runtimes.trtexec_output import parse_options, parse_version

    told = ask_help(path)
    version = parse_version(told)
    if version is None:
        raise RuntimeMissing("{} is no trtexec of TensorRT 8 or later: {}".format(path, told[-500:].strip()))
    program = Program(path, version, parse_options(told))
    return Runtime(version, lambda asked: open_session(program, asked))


def ask_help(path: str) -> str:
    """What `--help` prints, the banner with the version before it. Raises RuntimeMissing."""
    try:
        child = subprocess.run(
            [path, "--help"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_HELP_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RuntimeMissing("{} does not run: {}".format(path, error)) from error
    return child.stdout.decode("utf-8", "replace")


def open_session(program: Any, asked: Opening) -> Session:
    """An engine that trtexec has loaded once, built unless the cache has it. Raises TrtexecFailed."""
    from device_agent.runtimes.onnx_types import read_onnx_types
    from device_agent.runtimes.trtexec_engine import EngineFile

    check_asked(asked)
    recipe = write_recipe(asked, read_onnx_types(asked.model))
    path = find_engine(asked.cache, recipe, gpu=_ask_gpu(), tensorrt=program.version, via="trtexec")
    engine = EngineFile(program, recipe, path, asked.feed)
    build_s = engine.open()
    settings = _list_settings(program, recipe, engine.gpu, is_cached=build_s is None)

    def describe_session() -> Description:
        return Description(GPU, is_fallback=False, settings=settings, build_s=build_s)

    inputs = [Input(name, str(array.dtype), list(array.shape)) for name, array in asked.feed.items()]
    return Session(
        _refuse_single,
        inputs,
        threads=None,
        describe=describe_session,
        close=engine.close,
        time_loop=engine.time_loop,
    )


def _refuse_single(_: Feed) -> List[Any]:
    raise RuntimeError("trtexec runs loops of its own, no single inference")


def _ask_gpu() -> Optional[Dict[str, Any]]:
    """The GPU that an engine is built for; None where CUDA's library does not tell."""
    from device_agent.runtimes.cudart import CudaError, load_cudart

    try:
        return dict(load_cudart().read_gpu()._asdict())
    except (RuntimeMissing, CudaError):
        return None


def _list_settings(
    program: Any, recipe: Recipe, gpu: Dict[str, Optional[str]], is_cached: bool
) -> Dict[str, Any]:
    from device_agent.runtimes.trtexec_options import is_strongly_typed

    return {
        "via": "trtexec",
        "gpu": gpu["name"],
        "compute_capability": gpu["capability"],
        "engine": "cached" if is_cached else "built",
        "precisions": recipe.precisions,
        "strongly_typed": is_strongly_typed(program.options),
        "tf32": True,  # TensorRT's default, where the GPU has it
        "workspace_mib": recipe.workspace_mib,
        "host_memory": "pinned",
        "synchronization": "spin",
        "cuda_graph": False,
        "clock": "CUDA events: H2D + compute + D2H",
        "feeds": "the first one, over and over",
        "quality": "not measured: trtexec would need a process for every batch",
    }
