"""One engine with its memory on both sides: an inference copies in, computes, copies out and waits."""

import ctypes
from typing import Any, Callable, Dict, List

from device_agent.runtimes.cudart import DEVICE_TO_HOST, HOST_TO_DEVICE, Cudart
from device_agent.runtimes.session import Feed
from device_agent.runtimes.tensorrt_calls import Tensor, choose_calls


class Buffer:
    """Room for one tensor in the host's pinned memory, as an array, and on the GPU."""

    def __init__(self, cuda: Cudart, tensor: Tensor) -> None:
        import numpy

        self.tensor = tensor
        dtype = numpy.dtype(tensor.dtype)
        count = 1
        for extent in tensor.shape:
            count *= extent
        self.size = count * dtype.itemsize
        self.device = cuda.allocate(max(self.size, 1))
        self.host = cuda.allocate_pinned(max(self.size, 1))
        memory: Any = (ctypes.c_byte * self.size).from_address(self.host)
        self.array = numpy.frombuffer(memory, dtype=dtype).reshape(tensor.shape)

    def free(self, cuda: Cudart) -> None:
        cuda.call("cudaFreeHost", self.host)
        cuda.call("cudaFree", self.device)


def prepare_inference(trt: Any, cuda: Cudart, engine: Any, shapes: Dict[str, List[int]]) -> "Inference":
    """An engine that is ready to run. Raises MemoryError, EngineRefused and CudaError."""
    context = engine.create_execution_context()
    if context is None:
        raise MemoryError("TensorRT has no memory for an execution context")
    calls, stream = choose_calls(trt), cuda.create_stream()
    inference = Inference(cuda, calls.list_tensors(engine, context, shapes), stream)
    inference.set_execute(calls.prepare(engine, context, inference.list_addresses(), stream))
    return inference


class Inference:
    """The steps of one inference, all looked up beforehand. Raises CudaError and RuntimeError."""

    def __init__(self, cuda: Cudart, tensors: List[Tensor], stream: int) -> None:
        self.tensors = tensors
        self._cuda = cuda
        self._stream = stream
        self._buffers = [Buffer(cuda, one) for one in tensors]
        self._inputs = [one for one in self._buffers if one.tensor.is_input]
        self._outputs = [one for one in self._buffers if not one.tensor.is_input]
        self._copies_in = [
            cuda.prepare_copy(one.device, one.host, one.size, HOST_TO_DEVICE, stream) for one in self._inputs
        ]
        self._copies_out = [
            cuda.prepare_copy(one.host, one.device, one.size, DEVICE_TO_HOST, stream) for one in self._outputs
        ]
        self._wait = cuda.prepare_synchronize(stream)
        self._events = [cuda.create_event(), cuda.create_event()]
        self._execute: Callable[[], bool] = lambda: False

    def list_addresses(self) -> Dict[str, int]:
        """Where the tensors lie on the GPU."""
        return {one.tensor.name: one.device for one in self._buffers}

    def set_execute(self, execute: Callable[[], bool]) -> None:
        """What starts the computing in the stream; it holds the engine's context."""
        self._execute = execute

    def infer(self, feed: Feed) -> List[Any]:
        """The outputs, as arrays of their own."""
        self._fill(feed)
        for copy in self._copies_in:
            copy()
        if not self._execute():
            raise RuntimeError("TensorRT refused to start the inference; its log says why")
        for copy in self._copies_out:
            copy()
        self._wait()
        return [one.array.copy() for one in self._outputs]

    def time_compute(self, feed: Feed) -> float:
        """One inference; the ms between the two events around what TensorRT started."""
        execute, (start, end) = self._execute, self._events

        def execute_between() -> bool:
            self._cuda.call("cudaEventRecord", start, self._stream)
            is_started = execute()
            self._cuda.call("cudaEventRecord", end, self._stream)
            return is_started

        self._execute = execute_between
        try:
            self.infer(feed)
        finally:
            self._execute = execute
        return self._cuda.read_elapsed_ms(start, end)

    def _fill(self, feed: Feed) -> None:
        for one in self._inputs:
            given = feed[one.tensor.name]
            if given.shape != one.tensor.shape:
                message = "{} has the shape {}, the engine was built for {}"
                raise ValueError(message.format(one.tensor.name, given.shape, one.tensor.shape))
            # Same kind: TensorRT 8 takes the 64-bit integers of ONNX as 32-bit ones.
            one.array[...] = given if given.dtype == one.array.dtype else _convert(given, one.array.dtype)

    def free(self) -> None:
        """Let go of the context first, which must not outlive the memory that it knows. Once is enough."""
        self._execute = lambda: False
        if not self._events:
            return
        for event in self._events:
            self._cuda.call("cudaEventDestroy", event)
        for one in self._buffers:
            one.free(self._cuda)
        self._cuda.call("cudaStreamDestroy", self._stream)
        self._events = []


def _convert(array: Any, dtype: Any) -> Any:
    return array.astype(dtype, casting="same_kind")
