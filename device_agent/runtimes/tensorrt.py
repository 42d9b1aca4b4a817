"""TensorRT on the GPU: by its Python API, or by `trtexec` where a board has no bindings for its Python.

Deep learning accelerators (DLA) and CUDA graphs are left out; an engine runs on one stream of the first GPU.
"""

from typing import Any, Dict, Optional, Tuple

from device_agent.runtimes import trtexec
from device_agent.runtimes.onnx_types import read_onnx_types
from device_agent.runtimes.session import Description, Input, Opening, Runtime, RuntimeMissing, Session
from device_agent.runtimes.tensorrt_recipe import GPU, Recipe, check_asked, find_engine, write_recipe

_OLDEST = (8, 0)  # JetPack 4.6
# Up to which opset a release documents to read (docs/operators.md of onnx-tensorrt). Parsers since then read
# newer ones than they name, and refuse single operators: no bound is better than a wrong one.
_MAX_OPSETS: Dict[Tuple[int, ...], int] = {(8, 0): 13, (8, 2): 13, (8, 5): 17, (8, 6): 17}


def _import_tensorrt() -> Any:
    try:
        import tensorrt
    except (ImportError, OSError) as error:  # OSError: a wheel whose libraries are not all there
        raise RuntimeMissing(str(error)) from error
    return tensorrt


def load() -> Runtime:
    """TensorRT's Python API, or trtexec. Raises RuntimeMissing where the board has neither."""
    try:
        trt = _import_tensorrt()
    except RuntimeMissing as missing:
        program = trtexec.find_program()
        if program is None:
            raise RuntimeMissing(
                "this Python cannot import tensorrt ({}), and there is no trtexec. "
                "On a Jetson: sudo apt install python3-libnvinfer tensorrt".format(missing)
            ) from missing
        return trtexec.load(program)
    if parse_version(trt.__version__) < _OLDEST:
        raise RuntimeMissing(
            "TensorRT {} is too old: JetPack 4.6 brings the oldest that is supported, 8.0".format(
                trt.__version__
            )
        )
    return Runtime(str(trt.__version__), open_session)


def open_session(asked: Opening) -> Session:
    """An engine in memory, built unless the cache has it. What CUDA and TensorRT refuse is raised."""
    from device_agent.runtimes.cudart import load_cudart
    from device_agent.runtimes.tensorrt_engine import open_engine
    from device_agent.runtimes.tensorrt_session import prepare_inference

    check_asked(asked)
    trt, cuda = _import_tensorrt(), load_cudart()
    cuda.open_device()
    gpu = cuda.read_gpu()
    recipe = write_recipe(asked, read_onnx_types(asked.model))
    path = find_engine(asked.cache, recipe, gpu=gpu._asdict(), tensorrt=trt.__version__, via="python")
    opened = open_engine(trt, recipe, path)
    inference = prepare_inference(trt, cuda, opened.engine, recipe.shapes)
    settings = _list_settings(trt, cuda, gpu, recipe, is_cached=opened.build_s is None)

    def describe_session() -> Description:
        layers = {GPU: int(opened.engine.num_layers)}
        return Description(GPU, is_fallback=False, settings=settings, nodes=layers, build_s=opened.build_s)

    inputs = [Input(one.name, one.dtype, list(one.shape)) for one in inference.tensors if one.is_input]
    return Session(
        inference.infer,
        inputs,
        threads=None,
        describe=describe_session,
        close=inference.free,
        time_compute=inference.time_compute,
    )


def _list_settings(trt: Any, cuda: Any, gpu: Any, recipe: Recipe, is_cached: bool) -> Dict[str, Any]:
    from device_agent.runtimes.tensorrt_engine import is_strongly_typed

    return {
        "via": "python",
        "gpu": gpu.name,
        "compute_capability": gpu.capability,
        "engine": "cached" if is_cached else "built",
        "precisions": recipe.precisions,
        "strongly_typed": is_strongly_typed(trt),
        "tf32": True,  # TensorRT's default, where the GPU has it
        "workspace_mib": recipe.workspace_mib,
        "cuda": "{} via ctypes".format(cuda.path),
        "host_memory": "pinned",
        "synchronization": "spin",
        "cuda_graph": False,
    }


def describe() -> Optional[Dict[str, Any]]:
    """Version, provider, newest documented opset, and by what it is used; None where it is not there."""
    try:
        runtime = load()
    except RuntimeMissing:
        return None
    return {
        "version": runtime.version,
        "providers": [GPU],
        "max_opset": _MAX_OPSETS.get(parse_version(runtime.version)),
        "via": "python" if runtime.open is open_session else "trtexec",
    }


def parse_version(text: str) -> Tuple[int, ...]:
    """(8, 5) for 8.5.2.2."""
    return tuple(int(part) for part in text.split(".")[:2])
