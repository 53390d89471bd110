"""Where the pickle and the numbers lie in a file that `torch.save` wrote; the file is mapped into memory, not read."""

from __future__ import annotations

import io
import os
import struct
import zipfile
from pathlib import Path
from typing import Any, BinaryIO, cast

import torch

from . import calls
from .calls import NOTHING, STORAGES, Storage
from .inert import Named, RefusedError, Stub
from .pickles import Interpreter, WorkLimit

_DIRECTORY_BYTES = 2**25  # of a zip archive's list of contents: about 400,000 tensors
_MAGIC = 0x1950A86A20F9469CFC6C  # the first pickle of files before PyTorch 1.6
_TORCHSCRIPT = "torch.save(torch.jit.load(path).state_dict(), 'weights.pt')"
_END, _ZIP64 = b"PK\x05\x06", b"PK\x06\x06"


def read_zip(file: Path) -> object:
    """Contents of a file of PyTorch ≥ 1.6. Raises RefusedError; any error for a damaged one."""
    with file.open("rb") as stream:
        _check_directory(stream)
        with zipfile.ZipFile(stream) as archive:
            entries = {entry.filename: entry for entry in archive.infolist()}
        if any(name.endswith("/constants.pkl") for name in entries):
            raise RefusedError("is a TorchScript archive: a program, not weights", _TORCHSCRIPT)
        places = {name: _place(stream, entry) for name, entry in entries.items()}
        pickled = [name for name in places if name == "data.pkl" or name.endswith("/data.pkl")]
        if len(pickled) != 1:
            raise ValueError(f"a zip archive with {len(pickled)} files called data.pkl")
        folder = pickled[0].removesuffix("data.pkl")
        order = places.get(f"{folder}byteorder")
        if order is not None and _bytes(stream, order, 10) == b"big":
            raise RefusedError("was written on a machine with another byte order")
        whole = mapped(file)
        storages: dict[str, Storage] = {}

        def stored(key: object) -> object:
            dtype, name, count = _described(key)
            if dtype is None:
                return Stub("an unknown storage's")
            if name not in storages:
                if (place := places.get(f"{folder}data/{name}")) is None:
                    raise RefusedError(f"lacks the numbers of storage {name[:40]!r}; is it cut off?")
                storages[name] = Storage(_slice(whole, place, count * dtype.itemsize), dtype)
            return storages[name]._replace(dtype=dtype)

        budget = WorkLimit()
        content = _bytes(stream, places[pickled[0]], 2**28)
        return Interpreter(calls.build, calls.fill, stored, budget).load(io.BytesIO(content))


def read_pickle(file: Path) -> object:
    """Contents of a file of PyTorch < 1.6, or of a bare pickle. Raises RefusedError; any error for a damaged one."""
    with file.open("rb") as stream:
        return _Pickled(stream, mapped(file)).content()


class _Pickled:
    """Pickles that follow one another in a file, and then the numbers."""

    def __init__(self, stream: BinaryIO, whole: torch.UntypedStorage, budget: WorkLimit | None = None) -> None:
        self._stream, self._whole = stream, whole
        self._budget = WorkLimit() if budget is None else budget
        self._nested = budget is not None
        self._kinds: dict[str, tuple[torch.dtype, int]] = {}  # of every storage, and how many numbers it has
        self._storages: dict[str, Storage] = {}

    def content(self) -> object:
        first = self._load()
        if first != _MAGIC:
            return first
        self._load()  # version of the format
        system = self._load()
        if isinstance(system, dict) and system.get("little_endian") is False:
            raise RefusedError("was written on a machine with another byte order")
        # The numbers come last: the pickle is read once to learn which there are, and again when they are known.
        begins = self._stream.tell()
        self._load()
        self._find_numbers(self._load())
        self._stream.seek(begins)
        return self._load()

    def _load(self) -> object:
        return Interpreter(self._build, calls.fill, self._stored, self._budget).load(self._stream)

    def _find_numbers(self, keys: object) -> None:
        if not isinstance(keys, list):
            raise ValueError("no list of storages")
        for key in map(str, keys):
            (count,) = struct.unpack("<q", self._stream.read(8))
            dtype, expected = self._kinds.get(key, (None, None))
            if dtype is None or count != expected:
                raise RefusedError(f"has another number of elements in storage {key[:40]!r} than announced")
            place = (self._stream.tell(), count * dtype.itemsize)
            self._storages[key] = Storage(_slice(self._whole, place, place[1]), dtype)
            self._stream.seek(place[1], os.SEEK_CUR)

    def _stored(self, key: object) -> object:
        dtype, name, count = _described(key)
        if dtype is None:
            return Stub("an unknown storage's")
        if name in self._storages:
            return self._storages[name]._replace(dtype=dtype)
        self._kinds[name] = (dtype, count)
        return Stub("a storage that is read later")

    def _build(self, name: str, arguments: tuple[Any, ...], budget: WorkLimit) -> object:
        # bare pickles of tensors hold every storage as a file of its own
        if name == "torch.storage._load_from_bytes" and not self._nested and arguments and type(arguments[0]) is bytes:
            data = arguments[0]
            budget.spend(len(data) // 256)
            if not data:
                return NotImplemented
            memory = torch.frombuffer(bytearray(data), dtype=torch.uint8).untyped_storage()
            return _Pickled(io.BytesIO(data), memory, budget).content()
        return calls.build(name, arguments, budget)


def mapped(file: Path) -> torch.UntypedStorage:
    """The whole file as memory that is read on demand; writing to it does not reach the file."""
    return cast(torch.UntypedStorage, torch.UntypedStorage.from_file(str(file), False, file.stat().st_size))


def _slice(whole: torch.UntypedStorage, place: tuple[int, int], size: int) -> torch.UntypedStorage:
    begin, available = place
    available = min(available, max(0, whole.nbytes() - begin))
    if size > available:
        raise RefusedError(f"announces {size:,} bytes where it has {available:,}; is it cut off?")
    return cast(torch.UntypedStorage, whole[begin : begin + size]) if size else NOTHING


def _described(key: object) -> tuple[torch.dtype | None, str, int]:
    """Persistent id ("storage", class, name, device, count[, view]) -> dtype, name and count; no dtype if unknown."""
    if not isinstance(key, tuple) or len(key) < 5 or key[0] != "storage" or not isinstance(key[1], Named):
        return None, "", 0
    count, name = key[4], key[2]
    if type(count) is not int or not 0 <= count < 2**48 or type(name) is not str or any(part for part in key[5:]):
        raise RefusedError("describes a storage in a way that torch.save does not")
    return STORAGES.get(key[1].name.rpartition(".")[2]), name, count


# ---- zip archives ----------------------------------------------------------------------------------------------------


def _check_directory(stream: BinaryIO) -> None:
    """Raise RefusedError for a list of contents that would fill the memory, before `zipfile` reads it."""
    size = stream.seek(0, os.SEEK_END)
    stream.seek(max(0, size - 2**16 - 100))
    tail = stream.read()
    at = tail.rfind(_END)
    if at < 0 or len(tail) < at + 22:
        raise ValueError("no end of the archive")
    length = struct.unpack_from("<L", tail, at + 12)[0]
    if (wide := tail.rfind(_ZIP64, 0, at)) >= 0 and len(tail) >= wide + 56:
        length = struct.unpack_from("<Q", tail, wide + 40)[0]
    if length > _DIRECTORY_BYTES:
        raise RefusedError("is a zip archive with millions of entries")


def _place(stream: BinaryIO, entry: zipfile.ZipInfo) -> tuple[int, int]:
    """Where an entry's bytes begin, and how many there are."""
    if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1:
        raise RefusedError("is a compressed or encrypted zip archive, which torch.save does not write; unpack it first")
    if not 0 <= entry.header_offset < stream.seek(0, os.SEEK_END):
        raise ValueError("an entry of the archive lies outside of it")
    stream.seek(entry.header_offset)
    header = stream.read(30)
    if len(header) < 30 or not header.startswith(b"PK\x03\x04"):
        raise ValueError("an entry of the archive has no header")
    name, extra = struct.unpack_from("<HH", header, 26)
    return entry.header_offset + 30 + name + extra, entry.file_size


def _bytes(stream: BinaryIO, place: tuple[int, int], limit: int) -> bytes:
    begin, size = place
    if size > limit:
        raise RefusedError(f"holds {size >> 20:,} MB beside its tensors")
    stream.seek(begin)
    return stream.read(size)


def is_zip(file: Path) -> bool:
    """Whether a file is a zip archive, judging by its beginning, as torch does."""
    with file.open("rb") as stream:
        return stream.read(4) == b"PK\x03\x04"


def is_tar(file: Path) -> bool:
    """Whether a file is a tar archive, as PyTorch < 0.1.10 wrote."""
    with file.open("rb") as stream:
        stream.seek(257)
        return stream.read(5) == b"ustar"
