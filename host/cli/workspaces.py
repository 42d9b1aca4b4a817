"""`bench init`: a folder becomes a workspace."""

from __future__ import annotations

from pathlib import Path

import click

from host.cli.options import tell

DEVICES = """\
# The boards that this workspace knows; `bench devices add` writes here. It never holds a secret.
devices: {}
"""

PROFILE = """\
# What `bench sweep --profile first` measures. Lists are axes; a sweep is their product.
name: first
description: A first sweep on an emulated board on this machine
model: mobilenet_v2-digits            # see: bench models list
devices: [{emulate: x86-emulated, cpus: 1}]   # or the names of your boards: [pi4, orin]
variants:
  - {}                                # dense fp32, what everything else is compared with
  - prune: {granularity: channel, criterion: l2, sparsity: [0.3, 0.5], finetune: {epochs: 4}}
    quantize: [null, {scheme: static-int8}]
measure: quick                        # or standard, rigorous
limits: {min_accuracy: 0.95}
"""

FILES = {
    "devices.yaml": DEVICES,
    "profiles/first.yaml": PROFILE,
    "results/.gitignore": "*\n!.gitignore\n",
    ".boardbench/.gitignore": "*\n",
}


@click.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path), default=".")
def init(folder: Path) -> None:
    """Make FOLDER a workspace, with a first profile in it.

    It gets devices.yaml, profiles/first.yaml and a place for results. What is already there stays as it is.
    """
    for name, text in FILES.items():
        path = folder / name
        if path.exists():
            tell(f"{path} is there already")
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        tell(f"{path} written")
    tell("Next: bench sweep --profile first --dry-run")
