"""How an engine's tensors are named and its inference is started: by name from 8.5 on, by place before."""

from typing import Any, Callable, Dict, List, NamedTuple, Tuple

from device_agent.runtimes.tensorrt_engine import EngineRefused

# Not by tensorrt.nptype: that of 8.x asks numpy for names that newer numpys have dropped.
_DTYPES = {
    "FLOAT": "float32",
    "HALF": "float16",
    "INT8": "int8",
    "INT32": "int32",
    "INT64": "int64",
    "UINT8": "uint8",
    "BOOL": "bool",
}


class Tensor(NamedTuple):
    """An input or output of an engine with its full shape and numpy's name of its type."""

    name: str
    dtype: str
    shape: Tuple[int, ...]
    is_input: bool


class Calls(NamedTuple):
    """Both take an engine and its context. `list_tensors` fixes the shapes of the inputs first. `prepare`
    gives what starts one inference in a stream: False where TensorRT refuses it.
    """

    list_tensors: Callable[[Any, Any, Dict[str, List[int]]], List[Tensor]]
    prepare: Callable[[Any, Any, Dict[str, int], int], Callable[[], bool]]


def choose_calls(trt: Any) -> Calls:
    """The calls that this release has."""
    is_by_name = hasattr(trt.ICudaEngine, "num_io_tensors")
    return Calls(_list_by_name, _prepare_by_name) if is_by_name else Calls(_list_by_place, _prepare_by_place)


def _list_by_name(engine: Any, context: Any, shapes: Dict[str, List[int]]) -> List[Tensor]:
    names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
    inputs = [name for name in names if engine.get_tensor_mode(name).name == "INPUT"]
    for name in inputs:
        if not context.set_input_shape(name, tuple(shapes[name])):
            raise _refuse_shape(name, shapes[name])
    return [
        _make_tensor(
            name, engine.get_tensor_dtype(name), context.get_tensor_shape(name), is_input=name in inputs
        )
        for name in names
    ]


def _prepare_by_name(_: Any, context: Any, addresses: Dict[str, int], stream: int) -> Callable[[], bool]:
    for name, address in addresses.items():
        if not context.set_tensor_address(name, address):
            raise EngineRefused("TensorRT does not take an address for {}".format(name))
    execute = context.execute_async_v3
    return lambda: bool(execute(stream))


def _list_by_place(engine: Any, context: Any, shapes: Dict[str, List[int]]) -> List[Tensor]:
    places = range(engine.num_bindings)
    for place in places:
        name = engine.get_binding_name(place)
        if engine.binding_is_input(place) and not context.set_binding_shape(place, tuple(shapes[name])):
            raise _refuse_shape(name, shapes[name])
    return [
        _make_tensor(
            engine.get_binding_name(place),
            engine.get_binding_dtype(place),
            context.get_binding_shape(place),
            is_input=engine.binding_is_input(place),
        )
        for place in places
    ]


def _prepare_by_place(
    engine: Any, context: Any, addresses: Dict[str, int], stream: int
) -> Callable[[], bool]:
    bindings = [addresses[engine.get_binding_name(place)] for place in range(engine.num_bindings)]
    execute = context.execute_async_v2
    return lambda: bool(execute(bindings, stream))


def _make_tensor(name: str, kind: Any, shape: Any, is_input: bool) -> Tensor:
    extents = tuple(int(extent) for extent in shape)
    if any(extent < 0 for extent in extents):
        raise EngineRefused("the shape of {} depends on what is computed: not supported".format(name))
    if kind.name not in _DTYPES:
        raise EngineRefused("{} is of {}, which numpy has not".format(name, kind.name))
    return Tensor(name, _DTYPES[kind.name], extents, is_input)


def _refuse_shape(name: str, shape: List[int]) -> EngineRefused:
    return EngineRefused("the engine was not built for {} of shape {}".format(name, shape))
