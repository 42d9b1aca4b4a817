"""The workflow that the documentation offers: valid YAML, and `bench` takes every command of it."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import yaml

from host.cli.main import bench

WORKFLOW = Path(__file__).parent.parent / "docs" / "ci" / "github-actions.yml"


def test_every_bench_command_of_the_workflow_can_be_parsed() -> None:
    document = yaml.safe_load(WORKFLOW.read_text())
    steps = document["jobs"]["check"]["steps"]
    lines = [line.strip() for step in steps for line in step.get("run", "").splitlines()]
    commands = [shlex.split(line)[1:] for line in lines if re.match(r"bench ", line)]
    assert [words[0] for words in commands] == ["sweep", "baseline", "sweep", "check"]
    for words in commands:
        parse(bench, words)


def parse(command: click.Command, words: list[str]) -> None:
    """Parse words down to the command that they name, without running it. Raises what click does."""
    if isinstance(command, click.Group):
        parse(command.commands[words[0]], words[1:])
        return
    with command.make_context("bench", list(words)) as context:
        assert context.params
