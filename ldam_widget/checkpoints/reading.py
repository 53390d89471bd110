"""Read a file as tensors, without ever running code from it."""

from __future__ import annotations

import os
import pickle
import pickletools
import re
import zipfile
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

_SAFE = (
    "torch.save(model.state_dict(), 'weights.pt') or "
    "safetensors.torch.save_file(model.state_dict(), 'weights.safetensors')"
)


def read(path: str | os.PathLike[str]) -> object:
    """Contents of a file, on the CPU."""
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"path must be the path of a file; got {type(path).__name__}")
    file = Path(path)
    if file.is_dir():
        raise IsADirectoryError(f"{file} is a folder; give the weights file inside it")
    if not file.is_file():
        raise FileNotFoundError(f"there is no checkpoint file {file}")
    if file.stat().st_size == 0:
        raise ValueError(f"{file} is empty; was it copied while it was being written?")
    return _read_safetensors(file) if file.suffix == ".safetensors" else _read_torch(file)


def _read_safetensors(file: Path) -> object:
    try:
        return load_file(file)
    except (SafetensorError, ValueError) as error:
        raise ValueError(f"{file} is damaged or not a safetensors file: {error}") from error


def _read_torch(file: Path) -> object:
    try:
        zipped = zipfile.is_zipfile(file)
        torchscript = zipped and any(name.endswith("/constants.pkl") for name in zipfile.ZipFile(file).namelist())
        if not torchscript:
            return torch.load(str(file), map_location="cpu", weights_only=True, mmap=zipped)
    except OSError:
        raise
    except Exception as error:  # a damaged file can raise any error
        culprit = _code_in(file, error)
        if culprit:
            raise ValueError(
                f"{file} was refused: it is a pickle that asks for {culprit}, so loading it would run code. None of it "
                f"was run. Where you trust the file, save the weights alone: {_SAFE}"
            ) from error
        # torch advises weights_only=False for a pickle it cannot read; we do not
        why = "its pickle cannot be read" if isinstance(error, pickle.UnpicklingError) else f"{error!r:.300}"
        raise ValueError(f"{file} is damaged, or was not written by torch.save: {why}") from error
    raise ValueError(
        f"{file} is a TorchScript archive: a program, not weights. Where you trust it, save the weights alone: "
        "torch.save(torch.jit.load(path).state_dict(), 'weights.pt')"
    )


def _code_in(file: Path, error: Exception) -> str:
    """The first disallowed function or class that a pickle requests; "" if none is found."""
    if not isinstance(error, pickle.UnpicklingError):
        return ""
    named = re.search(r"(?:GLOBAL|class) (\S+)", str(error))
    return named[1] if named else _first_global(file.read_bytes())


def _first_global(data: bytes) -> str:
    """The same for a bare pickle of a protocol that torch does not read. It is disassembled, not run."""
    if not data.startswith(b"\x80"):  # the pickle marker; almost any bytes parse as a few instructions
        return ""
    strings: list[str] = []
    try:
        for code, argument, _ in pickletools.genops(data):
            if code.name == "GLOBAL":
                return str(argument).replace(" ", ".")
            if code.name == "STACK_GLOBAL":
                return ".".join(strings[-2:])
            if isinstance(argument, str):
                strings.append(argument)
    except ValueError:  # the rest cannot be parsed
        pass
    return ""
