"""Read a file as tensors and plain data, without ever running code from it.

`torch.load(weights_only=True)` is not used: before PyTorch 2.6 it could be made to run code (CVE-2025-32434), and a
file can make it hang or crash. `pickles` interprets the pickle instead, and puts inert stubs for what it does not know.
"""

from __future__ import annotations

import os
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file

from .archive import is_tar, is_zip, read_pickle, read_zip
from .inert import RefusedError


def read(path: str | os.PathLike[str]) -> object:
    """Contents of a file, on the CPU; objects of unknown classes are `Stub`s."""
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"path must be the path of a file; got {type(path).__name__}")
    file = Path(path)
    if file.is_dir():
        raise IsADirectoryError(f"{file} is a folder; give the weights file inside it")
    if not file.exists():
        raise FileNotFoundError(f"there is no checkpoint file {file}")
    if not file.is_file():  # a pipe or a device would be read without end
        raise ValueError(f"{file} is not an ordinary file; copy it to one")
    if file.stat().st_size == 0:
        raise ValueError(f"{file} is empty; was it copied while it was being written?")
    return _read_safetensors(file) if file.suffix == ".safetensors" or _is_safetensors(file) else _read_torch(file)


def _is_safetensors(file: Path) -> bool:
    """Whether a file of any name begins as safetensors do: the length of a JSON object, and the object."""
    with file.open("rb") as stream:
        head = stream.read(10)
    return head[8:] == b'{"' and 0 < int.from_bytes(head[:8], "little") <= file.stat().st_size - 8


def _read_safetensors(file: Path) -> object:
    try:
        return load_file(file)
    except (SafetensorError, ValueError) as error:
        raise ValueError(f"{file} is damaged or not a safetensors file: {error}") from error


def _read_torch(file: Path) -> object:
    if is_tar(file):
        raise ValueError(f"{file} is a tar archive, as PyTorch before 0.1.10 wrote; load and save it with PyTorch")
    try:
        return read_zip(file) if is_zip(file) else read_pickle(file)
    except RefusedError as error:
        raise error.of(file) from error
    except OSError:
        raise
    except Exception as error:  # a damaged file can raise any error
        raise ValueError(f"{file} is damaged, or was not written by torch.save: {error!r:.300}") from error
