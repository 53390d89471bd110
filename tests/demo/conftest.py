from __future__ import annotations

import gzip
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from .toy_mnist import toy_digits, write_split


@pytest.fixture
def toy_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "toy"
    write_split(folder, "train", *toy_digits(120, seed=1))
    write_split(folder, "test", *toy_digits(50, seed=2))
    return folder


@pytest.fixture
def rewrite(toy_folder: Path) -> Callable[[str, bytes], None]:
    """rewrite(name, decoded_content): replace one file of `toy_folder`."""

    def write(name: str, content: bytes) -> None:
        (toy_folder / name).write_bytes(gzip.compress(content))

    return write


@pytest.fixture
def real_mnist() -> Path:
    root = os.environ.get("LDAM_DATA")
    if not root:
        pytest.skip("LDAM_DATA is not set: it names a folder with mnist/*.gz")
    return Path(root) / "mnist"


@pytest.fixture
def real_cifar() -> Path:
    root = os.environ.get("LDAM_DATA")
    if not root:
        pytest.skip("LDAM_DATA is not set: it names a folder with cifar10/cifar10_jpeg_60k.tar.xz")
    return Path(root) / "cifar10"
