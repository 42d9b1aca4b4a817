"""An engine from an ONNX file by TensorRT's Python API, 8.0 to 11, built on the board or from its cache.

What differs between releases is asked of the module, not looked up by its version.
"""

import sys
import time
from typing import Any, List, NamedTuple, Optional

from device_agent.runtimes.tensorrt_recipe import Recipe
from device_agent.work_folder import write_file

_MIB = 1 << 20


class EngineRefused(Exception):
    """TensorRT does not build or load a model; the message is what it logged."""


class Engine(NamedTuple):
    """A loaded engine. `build_s` is None where it came from the cache; `runtime` must outlive `engine`."""

    engine: Any
    runtime: Any
    build_s: Optional[float]


def is_strongly_typed(trt: Any) -> bool:
    """Whether networks follow the types in the file, so that no precision has to be allowed by a flag."""
    return hasattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED")


def make_logger(trt: Any) -> Any:
    """A logger whose `errors` keep what went wrong, because a refusal itself is only a None."""

    class KeepingLogger(trt.ILogger):  # type: ignore[misc]  # tensorrt has no types
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: List[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.INTERNAL_ERROR, trt.ILogger.ERROR):
                self.errors.append(message)
            if severity not in (trt.ILogger.INFO, trt.ILogger.VERBOSE):
                sys.stderr.write("[TensorRT] {}\n".format(message))

    return KeepingLogger()


def open_engine(trt: Any, recipe: Recipe, path: str) -> Engine:
    """The engine in the cache at `path`, else a new one that is kept there. Raises EngineRefused."""
    logger = make_logger(trt)
    trt.init_libnvinfer_plugins(logger, "")
    runtime = trt.Runtime(logger)
    cached = _read_cached(path)
    engine = None if cached is None else runtime.deserialize_cuda_engine(cached)
    if engine is not None:
        return Engine(engine, runtime, None)
    # A cached engine that is torn, or of another driver, is built anew.
    started = time.monotonic()
    plan = build_plan(trt, logger, recipe)
    build_s = time.monotonic() - started
    write_file(path, plan)
    engine = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        raise _refuse(logger, "the engine that was just built cannot be loaded")
    return Engine(engine, runtime, build_s)


def _read_cached(path: str) -> Optional[bytes]:
    try:
        with open(path, "rb") as file:
            return file.read() or None
    except OSError:
        return None


def build_plan(trt: Any, logger: Any, recipe: Recipe) -> bytes:
    """A serialized engine. Raises EngineRefused."""
    builder = trt.Builder(logger)
    network = _parse(trt, logger, builder, recipe.model)
    config = builder.create_builder_config()
    _limit_workspace(trt, config, recipe.workspace_mib * _MIB)
    if not is_strongly_typed(trt):
        # The builder refuses layers of a precision that no flag allows, and picks among those that are.
        for precision in recipe.precisions:
            config.set_flag(getattr(trt.BuilderFlag, precision.upper()))
    _fix_shapes(builder, network, config, recipe)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise _refuse(logger, "the engine cannot be built")
    return bytes(plan)


def _parse(trt: Any, logger: Any, builder: Any, model: str) -> Any:
    flag = trt.NetworkDefinitionCreationFlag
    # Batch sizes beside the shapes are gone since 10; before, the parser of ONNX needs them switched off.
    chosen = flag.STRONGLY_TYPED if is_strongly_typed(trt) else flag.EXPLICIT_BATCH
    network = builder.create_network(1 << int(chosen))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(model):
        errors = [str(parser.get_error(index)) for index in range(parser.num_errors)]
        raise EngineRefused("TensorRT cannot read the model: {}".format("; ".join(errors)))
    return network


def _limit_workspace(trt: Any, config: Any, size: int) -> None:
    if hasattr(config, "set_memory_pool_limit"):  # from 8.4 on; the older way is gone since 10
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, size)
    else:
        config.max_workspace_size = size


def _fix_shapes(builder: Any, network: Any, config: Any, recipe: Recipe) -> None:
    """The only shapes that an open model gets are those that are measured."""
    inputs = [network.get_input(index) for index in range(network.num_inputs)]
    unfed = [one.name for one in inputs if one.name not in recipe.shapes]
    if unfed:
        raise EngineRefused("the feeds have no {}".format(" and no ".join(unfed)))
    profile = builder.create_optimization_profile()
    is_needed = False
    for one in inputs:
        if one.is_shape_tensor:
            raise EngineRefused("{} is an input whose values decide shapes: not supported".format(one.name))
        if any(extent < 0 for extent in tuple(one.shape)):
            shape = tuple(recipe.shapes[one.name])
            profile.set_shape(one.name, shape, shape, shape)
            is_needed = True
    if is_needed:
        config.add_optimization_profile(profile)


def _refuse(logger: Any, message: str) -> EngineRefused:
    return EngineRefused("{}: {}".format(message, "; ".join(logger.errors) or "TensorRT logged no reason"))
