"""Accuracy on the board, and agreement with the outputs of the host's own runtime."""

import zipfile
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional

Infer = Callable[[Dict[str, Any]], List[Any]]


class Quality(NamedTuple):
    """Shares of correct and of equal answers, and the largest difference of any output."""

    accuracy: Optional[float]
    agreement: Optional[float]
    max_abs_diff: Optional[float]


def evaluate(
    infer: Infer,
    input_name: str,
    evaluation: Optional[str],
    reference: Optional[str],
    batch: int,
    say_alive: Callable[[], None],
) -> Quality:
    """Run the evaluation set once; all None without one. Paths are of .npz: `x` and `y`; `outputs`."""
    if evaluation is None:
        return Quality(None, None, None)
    import numpy

    outputs = []
    for images in _read_batches(evaluation, "x", batch):
        outputs.append(_infer_whole(infer, input_name, images, batch))
        say_alive()
    answers = numpy.concatenate(outputs)
    with numpy.load(evaluation) as loaded:
        labels = loaded["y"]
    accuracy = float(numpy.mean(answers.argmax(axis=1) == labels))
    if reference is None:
        return Quality(accuracy, None, None)
    with numpy.load(reference) as loaded:
        expected = loaded["outputs"]
    agreement = float(numpy.mean(answers.argmax(axis=1) == expected.argmax(axis=1)))
    largest = float(numpy.max(numpy.abs(answers - expected)))
    # Infinite outputs (fp16 overflows) have no difference that JSON could carry.
    return Quality(accuracy, agreement, largest if numpy.isfinite(largest) else None)


def _infer_whole(infer: Infer, input_name: str, images: Any, batch: int) -> Any:
    """The outputs of up to `batch` images; a short batch is filled up, for models whose batch is fixed."""
    import numpy

    short = batch - len(images)
    filled = numpy.concatenate([images, numpy.repeat(images[-1:], short, axis=0)]) if short else images
    return infer({input_name: filled})[0][: len(images)].reshape(len(images), -1)


def _read_batches(path: str, name: str, batch: int) -> Iterator[Any]:
    """Pieces of one array of an .npz along its first axis: a set of images may be larger than the memory."""
    import numpy
    from numpy.lib import format as npy

    with zipfile.ZipFile(path) as archive, archive.open(name + ".npy") as file:
        version = npy.read_magic(file)
        read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, is_fortran, dtype = read_header(file)
        if is_fortran or dtype.hasobject:
            raise ValueError("{} of the evaluation set is not a plain C-ordered array".format(name))
        stride = int(numpy.prod(shape[1:])) * dtype.itemsize
        for start in range(0, shape[0], batch):
            count = min(batch, shape[0] - start)
            content = file.read(count * stride)
            yield numpy.frombuffer(content, dtype=dtype).reshape((count,) + tuple(shape[1:]))
