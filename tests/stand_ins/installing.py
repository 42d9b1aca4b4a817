"""How the stand-ins for TensorRT get onto a fake board. See README.md beside this file."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def build_cuda(folder: Path) -> Path:
    """A folder for CUDA_HOME, with libcudart.so in it. Skips the test where no C compiler is installed."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler: apt-get install gcc")
    library = folder / "cuda" / "lib64" / "libcudart.so"
    if not library.exists():
        library.parent.mkdir(parents=True, exist_ok=True)
        command = [compiler, "-shared", "-fPIC", "-o", str(library), str(HERE / "cudart.c")]
        subprocess.run(command, check=True)
    return folder / "cuda"


def list_python_environment(version: str, cuda: Path) -> dict[str, str]:
    """The environment in which `import tensorrt` finds that release, and the agent its CUDA."""
    return {
        "PYTHONPATH": str(HERE / "python"),
        "STAND_IN_TENSORRT": version,
        "CUDA_HOME": str(cuda),
    }


def install_trtexec(folder: Path, version: str) -> dict[str, str]:
    """Put a `trtexec` of that release into a folder, which goes on PATH; the environment that it needs."""
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / "trtexec"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{HERE / "trtexec_program.py"}" "$@"\n')
    program.chmod(0o755)
    return {"STAND_IN_TENSORRT": version}
