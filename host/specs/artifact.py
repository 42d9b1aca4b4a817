"""What a build leaves behind: one deployable file, what it costs on paper, and how good it is on the host."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from host.specs.record import Record


class Blob(Record):
    """A file named by its content."""

    path: Path
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    size: int = Field(ge=0)


class Tensor(Record):
    """One input of a model: its element type as ONNX names it (`float`, `int64`) and its extents.

    An extent is None where the file leaves it open.
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...]


class PackedParts(Record):
    """Where the bytes of a packed file go; together they are the file."""

    values: int = Field(ge=0)
    indices: int = Field(ge=0)
    scales: int = Field(ge=0)
    rest: int = Field(ge=0)


class Step(Record):
    """One step of pruning, after its fine-tuning; `accuracy` is over the validation images.

    `is_kept` is False for a step that was rolled back because it cost too much.
    """

    sparsity: float
    params: int
    params_nonzero: int
    macs: int
    accuracy: float
    is_kept: bool = True


class Artifact(Record):
    """One variant as an ONNX file.

    `sparsity` is what was reached, in units of what was pruned: zero weights among the prunable ones,
    or channels removed among the removable ones, 0 where nothing was; `sparsity_target` is what was
    asked. `macs` are multiply-accumulates of one inference at batch 1. `accuracy` is over the whole test
    set on the host. `evaluation` holds `x` (N, C, H, W) float32 and `y` (N,) int64; `reference` holds
    `outputs` (N, classes) float32, what the host's runtime answers to `x`. Both are None for a model
    without a data set, as are parameters, MACs and sparsity where a file does not tell them.

    `gzip_bytes` is the size of the file after gzip; `packed` is the file in our own packing, from which a
    board restores every byte of it. `steps` are those of pruning; `notes` are sentences on what the
    build decided (a step rolled back, layers left in float).
    """

    model: str
    variant: str
    variant_id: str
    blob: Blob
    inputs: tuple[Tensor, ...]
    opset: int
    precision: str
    params: int | None = None
    params_nonzero: int | None = None
    macs: int | None = None
    sparsity: float | None = None
    sparsity_target: float | None = None
    accuracy: float | None = None
    gzip_bytes: int | None = None
    packed: Blob | None = None
    packed_parts: PackedParts | None = None
    steps: tuple[Step, ...] = ()
    notes: tuple[str, ...] = ()
    evaluation: Blob | None = None
    reference: Blob | None = None

    @property
    def fixed_batch(self) -> int | None:
        """The batch that the file itself fixes: the first extent of its first input, if that has a batch.

        None where the extent is open, and so for the runtime's settings to choose. An input of fewer than
        two dimensions has no batch and counts as one item.
        """
        shape = self.inputs[0].shape if self.inputs else ()
        return shape[0] if len(shape) >= 2 else 1
