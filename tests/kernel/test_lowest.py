"""A kernel where everything is as old as pyproject.toml allows: the bounds there are promises."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from . import client
from .client import REPOSITORY, KernelClient, View
from .conftest import start
from .environments import LOWEST, environment, lowest

# the basic cases once more, on the kernel below
from .test_idle import (  # noqa: F401
    test_a_slider_moves_the_attribute,
    test_an_attribute_moves_the_slider,
    test_downloads,
    test_frames_flow,
    test_the_picture_of_a_paused_widget_is_the_samplers,
)

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(sys.version_info >= (3, 12), reason="numpy 1.24 and its like have no builds for this Python"),
]


@pytest.fixture(scope="module")
def shared() -> Iterator[KernelClient]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(client, "environment", lambda version: f"{lowest()}:{environment(version)}")
        kernel = start("6.31.0")
    yield kernel
    kernel.close()


def test_everything_is_as_old_as_can_be(kernel: KernelClient) -> None:
    bounds = dict(requirement.split("==") for requirement in LOWEST)
    assert {"ipywidgets", "anywidget", "numpy", "pillow", "matplotlib", "typer"} < {*bounds}
    kernel.run("from importlib import import_module, metadata")
    for name, bound in bounds.items():
        module = "PIL" if name == "pillow" else name.replace("-", "_")
        version, file = kernel.value(f"[metadata.version('{name}'), import_module('{module}').__file__]")
        assert f"{version}.".startswith(f"{bound}."), name
        assert Path(file).is_relative_to(lowest()), name


def test_figures_and_diagnostics(kernel: KernelClient, view: View) -> None:
    view.next("frame", lambda f: f["steps"] >= 100)
    kernel.run("w.pause(); w.figure().canvas.draw(); ldam.figures.diagnostics(w.sampler).canvas.draw()")
    assert kernel.value("w.sampler.diagnostics()['verdict']['text']")


def test_the_command_line(tmp_path: Path) -> None:
    picture = tmp_path / "grid.png"
    python("-m", "ldam_widget", "sample", "--model", "mnist", "--neurons", "0-2", "--steps", "3", "-o", str(picture))
    assert Image.open(picture).width >= 3 * 28


def test_pictures_and_figures() -> None:
    python("-m", "pytest", "-p", "no:cacheprovider", "tests/test_images.py", "tests/test_figures.py")


def python(*arguments: str) -> None:
    old = os.environ | {"PYTHONPATH": str(lowest())}
    command = [sys.executable, *arguments]
    done = subprocess.run(command, cwd=REPOSITORY, env=old, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
