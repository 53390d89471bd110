"""Pickles written by hand, instruction by instruction, and files of torch.save's formats around them."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

MARK, STOP, REDUCE, BUILD, EMPTY_DICT, EMPTY_TUPLE, TUPLE = b"(", b".", b"R", b"b", b"}", b")", b"t"
PROTO = b"\x80\x02"


def plain(value: Any) -> bytes:
    """Instructions that push a plain value."""
    return pickle.dumps(value, 2)[2:-1]


def named(name: str) -> bytes:
    """GLOBAL."""
    module, _, last = name.rpartition(".")
    return f"c{module}\n{last}\n".encode()


def tuple_of(*parts: bytes) -> bytes:
    return MARK + b"".join(parts) + TUPLE


def call(name: str, *parts: bytes) -> bytes:
    return named(name) + tuple_of(*parts) + REDUCE


def table(**entries: bytes) -> bytes:
    return EMPTY_DICT + MARK + b"".join(plain(name) + value for name, value in entries.items()) + b"u"


def storage(key: str = "0", kind: str = "torch.FloatStorage", count: bytes | int = 4, *more: bytes) -> bytes:
    """A persistent id, as torch.save writes it."""
    counted = count if isinstance(count, bytes) else plain(count)
    return tuple_of(plain("storage"), named(kind), plain(key), plain("cpu"), counted, *more) + b"Q"


def tensor(
    size: Any = (2, 2), stride: Any = (2, 1), offset: Any = 0, kind: str = "torch.FloatStorage", count: int = 4
) -> bytes:
    return call(
        "torch._utils._rebuild_tensor_v2", storage("0", kind, count), plain(offset), plain(size), plain(stride),
        plain(False), call("collections.OrderedDict"),
    )  # fmt: skip


def weights(**other: bytes) -> bytes:
    """{"weight": (2, 2) of 1, 2, 3, 4, …other}: the weights of Linear(2, 2, bias=False)."""
    return table(**{"weight": tensor()} | other)


NUMBERS = struct.pack("<4f", 1, 2, 3, 4)


def zipped(
    instructions: bytes, path: Path, numbers: bytes = NUMBERS, *, method: int = zipfile.ZIP_STORED, **more: bytes
) -> Path:
    """A file of PyTorch ≥ 1.6; `more` are further entries, a name's "__" stands for "/"."""
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("archive/data.pkl", PROTO + instructions + STOP)
        archive.writestr("archive/data/0", numbers)
        for name, content in more.items():
            archive.writestr(f"archive/{name.replace('__', '/')}", content)
    return path


def old(instructions: bytes, path: Path, numbers: bytes = NUMBERS, keys: Any = ("0",), count: int = 4) -> Path:
    """A file of PyTorch < 1.6."""
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}
    file = io.BytesIO()
    for value in (0x1950A86A20F9469CFC6C, 1001, system):
        file.write(pickle.dumps(value, 2))
    file.write(PROTO + instructions + STOP + pickle.dumps(list(keys), 2) + struct.pack("<q", count) + numbers)
    path.write_bytes(file.getvalue())
    return path
