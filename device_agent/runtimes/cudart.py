"""CUDA's runtime library by ctypes: every JetPack has it, while its Python packages are rarely installed."""

import ctypes
import os
from ctypes import byref, c_char_p, c_float, c_int, c_size_t, c_uint, c_void_p
from typing import Any, Callable, Dict, Iterator, NamedTuple, Optional, Tuple

from device_agent.runtimes.session import RuntimeMissing

# driver_types.h
HOST_TO_DEVICE, DEVICE_TO_HOST = 1, 2
_SCHEDULE_SPIN = 1
_ATTRIBUTE_PROCESSORS, _ATTRIBUTE_MAJOR, _ATTRIBUTE_MINOR = 16, 75, 76

_POINTER = ctypes.POINTER(c_void_p)
_SIGNATURES: Dict[str, Tuple[Any, ...]] = {
    "cudaGetDeviceCount": (ctypes.POINTER(c_int),),
    "cudaSetDeviceFlags": (c_uint,),
    "cudaSetDevice": (c_int,),
    "cudaDeviceGetAttribute": (ctypes.POINTER(c_int), c_int, c_int),
    "cudaRuntimeGetVersion": (ctypes.POINTER(c_int),),
    "cudaMalloc": (_POINTER, c_size_t),
    "cudaFree": (c_void_p,),
    "cudaHostAlloc": (_POINTER, c_size_t, c_uint),
    "cudaFreeHost": (c_void_p,),
    "cudaMemcpyAsync": (c_void_p, c_void_p, c_size_t, c_int, c_void_p),
    "cudaStreamCreate": (_POINTER,),
    "cudaStreamSynchronize": (c_void_p,),
    "cudaStreamDestroy": (c_void_p,),
    "cudaEventCreate": (_POINTER,),
    "cudaEventRecord": (c_void_p, c_void_p),
    "cudaEventElapsedTime": (ctypes.POINTER(c_float), c_void_p, c_void_p),
    "cudaEventDestroy": (c_void_p,),
}

_NAMES = ("libcudart.so",) + tuple(
    "libcudart.so.{}".format(version) for version in ("13", "12", "11.0", "10.2", "10.0")
)
_FOLDERS = ("/usr/local/cuda/lib64", "/usr/local/cuda/targets/aarch64-linux/lib")
_NAME_BYTES = 256


class CudaError(Exception):
    """A call of CUDA was refused; the message has the call, the error's name and what it means."""


class Gpu(NamedTuple):
    """What an engine is built for. `name` is None where the driver's library does not tell."""

    name: Optional[str]
    capability: str
    processors: int


def load_cudart() -> "Cudart":
    """The library, found as CUDA's own tools find it. Raises RuntimeMissing."""
    refused = "no file of that name"
    for path in _list_candidates():
        try:
            return Cudart(ctypes.CDLL(path), path)
        except (OSError, AttributeError) as error:
            refused = str(error)
    raise RuntimeMissing(
        "CUDA's libcudart.so cannot be loaded ({}). On a Jetson: sudo apt install nvidia-jetpack; "
        "elsewhere name the folder of CUDA in CUDA_HOME".format(refused)
    )


def _list_candidates() -> Iterator[str]:
    """CUDA_HOME first, then what the loader finds (LD_LIBRARY_PATH, ld.so.conf), then the usual places."""
    home = os.environ.get("CUDA_HOME")
    folders = (os.path.join(home, "lib64"),) + _FOLDERS if home else _FOLDERS
    if home:
        yield os.path.join(home, "lib64", "libcudart.so")
    for name in _NAMES:
        yield name
    for folder in folders:
        for name in _NAMES:
            if os.path.exists(os.path.join(folder, name)):
                yield os.path.join(folder, name)


class Cudart:
    """The calls that inference needs. Addresses, streams and events are plain whole numbers."""

    def __init__(self, library: Any, path: str) -> None:
        self.path = path
        self._library = library
        library.cudaGetErrorName.restype = c_char_p
        library.cudaGetErrorString.restype = c_char_p
        for name, arguments in _SIGNATURES.items():
            getattr(library, name).argtypes = arguments

    def call(self, name: str, *arguments: Any) -> None:
        """One call. Raises CudaError."""
        code = getattr(self._library, name)(*arguments)
        if code:
            raise self._describe(name, code)

    def _describe(self, name: str, code: int) -> CudaError:
        told = self._library.cudaGetErrorName(code), self._library.cudaGetErrorString(code)
        error, meaning = ((text or b"?").decode("utf-8", "replace") for text in told)
        return CudaError("{}: {} ({})".format(name, error, meaning))

    def open_device(self) -> None:
        """Take the first GPU, and let waiting for it spin: that is what the fastest applications do."""
        count = c_int()
        self.call("cudaGetDeviceCount", byref(count))
        if count.value == 0:
            raise CudaError("CUDA finds no GPU on the board")
        self.call("cudaSetDeviceFlags", _SCHEDULE_SPIN)
        self.call("cudaSetDevice", 0)

    def read_gpu(self) -> Gpu:
        """The first GPU. cudaGetDeviceProperties is left alone: its structure changes with each release."""
        major, minor, processors = (
            self._read_attribute(number)
            for number in (_ATTRIBUTE_MAJOR, _ATTRIBUTE_MINOR, _ATTRIBUTE_PROCESSORS)
        )
        return Gpu(_ask_driver_for_name(), "{}.{}".format(major, minor), processors)

    def _read_attribute(self, number: int) -> int:
        value = c_int()
        self.call("cudaDeviceGetAttribute", byref(value), number, 0)
        return value.value

    def allocate(self, size: int) -> int:
        """The address of memory on the GPU."""
        return self._create("cudaMalloc", size)

    def allocate_pinned(self, size: int) -> int:
        """The address of memory of the host that the GPU copies from and to without a detour."""
        return self._create("cudaHostAlloc", size, 0)

    def create_stream(self) -> int:
        return self._create("cudaStreamCreate")

    def create_event(self) -> int:
        return self._create("cudaEventCreate")

    def _create(self, name: str, *arguments: Any) -> int:
        made = c_void_p()
        self.call(name, byref(made), *arguments)
        return made.value or 0

    def prepare_copy(self, target: int, source: int, size: int, kind: int, stream: int) -> Callable[[], None]:
        """A copy that can be repeated without looking anything up."""
        copy, describe = self._library.cudaMemcpyAsync, self._describe
        arguments = (c_void_p(target), c_void_p(source), c_size_t(size), c_int(kind), c_void_p(stream))

        def repeat() -> None:
            code = copy(*arguments)
            if code:
                raise describe("cudaMemcpyAsync", code)

        return repeat

    def prepare_synchronize(self, stream: int) -> Callable[[], None]:
        """Waiting for all that was put into a stream; errors of what ran there show here."""
        synchronize, describe, handle = self._library.cudaStreamSynchronize, self._describe, c_void_p(stream)

        def repeat() -> None:
            code = synchronize(handle)
            if code:
                raise describe("cudaStreamSynchronize", code)

        return repeat

    def read_elapsed_ms(self, start: int, end: int) -> float:
        """Between two events that have both happened."""
        elapsed = c_float()
        self.call("cudaEventElapsedTime", byref(elapsed), start, end)
        return elapsed.value


def _ask_driver_for_name() -> Optional[str]:
    name = ctypes.create_string_buffer(_NAME_BYTES)
    device = c_int()
    try:
        driver = ctypes.CDLL("libcuda.so.1")
        refused = (
            driver.cuInit(0)
            or driver.cuDeviceGet(byref(device), 0)
            or driver.cuDeviceGetName(name, _NAME_BYTES, device)
        )
    except (OSError, AttributeError):
        return None
    return None if refused else name.value.decode("utf-8", "replace")
