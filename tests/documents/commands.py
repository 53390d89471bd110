"""Runs the lines of a shell block: `ldam` in this process, and what can be checked of commands that need a network."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

from typer.testing import CliRunner

from ldam_widget.cli import app

from .blocks import ROOT

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pytest's own

STEPS = "12"  # at most, of `ldam sample`, `ldam embed`
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


def run_line(line: str) -> None:
    """Raises AssertionError if it fails, or names what does not exist."""
    words = shlex.split(line, comments=True)
    if not words:
        return
    program, *arguments = words
    check = {"ldam": _ldam, "make": _make, "pip": _pip, "git": _git}.get(program)
    assert check is not None, f"{program!r} can be neither run nor checked here: mark the block"
    check(arguments)


def _ldam(arguments: list[str]) -> None:
    to = None
    if ">" in arguments:
        to = arguments[arguments.index(">") + 1]
        arguments = arguments[: arguments.index(">")]
    if "--steps" in arguments:
        arguments[arguments.index("--steps") + 1] = STEPS
    elif arguments[0] in ("sample", "embed"):
        arguments += ["--steps", STEPS]
    elif arguments[:2] == ["atlas", "build"]:
        arguments += [
            "--steps",
            "2",
            "--warm-up",
            "2",
            "--chains",
            "1",
            "--layers",
            "layer3",
            "--workers",
            "0",
            "--overwrite",
        ]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, f"ldam {shlex.join(arguments)}: {result.output}"
    if to is not None:
        Path(to).write_text(result.stdout, encoding="utf-8")


def _make(arguments: list[str]) -> None:
    targets = [word for word in arguments if "=" not in word]
    assert targets
    for target in targets:
        assert re.search(rf"^{re.escape(target)}:", MAKEFILE, re.MULTILINE), f"Makefile has no target {target}"


def _pip(arguments: list[str]) -> None:
    """Of our own package: that it has the extras."""
    assert arguments[0] == "install"
    for word in arguments[1:]:
        if found := re.fullmatch(r"(ldam-widget|\.)(?:\[([\w,]+)\])?", word):
            extras = set(filter(None, (found[2] or "").split(",")))
            assert extras <= PROJECT["optional-dependencies"].keys(), f"no such extra: {word}"


def _git(arguments: list[str]) -> None:
    assert arguments == ["clone", PROJECT["urls"]["Source"]], arguments
