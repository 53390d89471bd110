"""Checkpoints damaged at random: each is read or refused in words, and nothing runs.

`python -m tests.checkpoints.fuzz --minutes 10 --seed 1`
"""

from __future__ import annotations

import argparse
import pickletools
import random
import tempfile
import time
from argparse import Namespace
from collections import Counter, OrderedDict, defaultdict
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ldam_widget import load_checkpoint

from .canary import nothing_runs
from .hostile import PROTO, STOP, old, plain, table, tensor, zipped

_CODES = [code.code.encode("latin-1") for code in pickletools.opcodes]
_NAMES = [
    b"cos\nsystem\n", b"cbuiltins\neval\n", b"ctorch._utils\n_rebuild_tensor_v2\n", b"ctorch\nFloatStorage\n",
    b"ctorch._utils\n_rebuild_tensor_v3\n", b"ctorch._tensor\n_rebuild_from_type_v2\n", b"ctorch\nSize\n",
    b"ctorch._utils\n_rebuild_sparse_tensor\n", b"ctorch._utils\n_rebuild_qtensor\n", b"cmy.module\nClass\n",
    b"cnumpy.core.multiarray\n_reconstruct\n", b"cnumpy\ndtype\n", b"ccollections\nOrderedDict\n",
    b"ctorch.storage\n_load_from_bytes\n", b"c_codecs\nencode\n", b"cnumpy.core.multiarray\nscalar\n",
]  # fmt: skip


def _honest(path: Path) -> list[bytes]:
    """Files of all formats, with much beside the weights."""
    net = nn.Linear(2, 2, bias=False)
    optimizer = torch.optim.Adam(net.parameters())
    net(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    content = {
        "model": OrderedDict(net.state_dict()), "optimizer": optimizer.state_dict(), "best": np.float64(0.5),
        "args": Namespace(lr=0.1, path=Path("x")), "mean": np.arange(6.0).reshape(2, 3), "seen": {1, 2},
        "log": defaultdict(list, a=[1]), "half": torch.ones(2, dtype=torch.bfloat16), "whole": net,
        "expanded": torch.ones(1).expand(5), "typed": torch.ones(3, dtype=torch.uint16),
    }  # fmt: skip
    found = []
    for new in (True, False):
        torch.save(content, path, _use_new_zipfile_serialization=new)
        found.append(path.read_bytes())
    for make in (zipped, old):
        found.append(make(table(weight=tensor(), extra=plain({"a": [1, (2.5, None)]})), path).read_bytes())
    return found


def _damaged(rng: random.Random, data: bytes) -> bytes:
    """A few bytes changed, cut out, doubled or replaced by an instruction."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 5, 20))):
        at, kind = rng.randrange(len(changed) + 1), rng.randrange(6)
        if kind == 0 and at < len(changed):
            changed[at] ^= 1 << rng.randrange(8)
        elif kind == 1 and at < len(changed):
            changed[at] = rng.choice((0, 1, 127, 128, 255))
        elif kind == 2:
            del changed[at : at + rng.choice((1, 2, 8, 100))]
        elif kind == 3:
            changed[at:at] = changed[at : at + rng.choice((1, 8, 50))] * rng.choice((1, 2, 100))
        elif kind == 4:
            changed[at : at + 1] = rng.choice(_CODES)
        else:
            changed[at:at] = rng.choice(_NAMES)
        if len(changed) < 4:
            return bytes(changed)
    return bytes(changed)


def _invented(rng: random.Random) -> bytes:
    """Instructions in any order, with arguments that may fit."""
    arguments = [plain(value) for value in (0, 1, (2, 2), (2, 1), "weight", "0", None, [], {}, 2**70, -1, 0.5, b"ab")]
    parts = [rng.choice((rng.choice(_CODES), rng.choice(_NAMES), rng.choice(arguments))) for _ in range(80)]
    return b"".join(parts)


def run(folder: Path, seed: int, files: int | None = None, minutes: float = 0.0) -> Counter[str]:
    """Load damaged files; how many were read, refused, called damaged, or told not to fit. Raises for anything else."""
    rng, path, counts = random.Random(seed), folder / "w.pt", Counter[str]()
    honest = _honest(path)
    for data in honest:
        path.write_bytes(data)
        load_checkpoint(nn.Linear(2, 2, bias=False), path, strict=False)
    end = time.monotonic() + 60 * minutes
    while sum(counts.values()) < files if files is not None else time.monotonic() < end:
        if rng.random() < 0.2:
            (zipped if rng.random() < 0.5 else old)(_invented(rng), path)
        elif rng.random() < 0.5:  # the pickle alone, so that the container stays whole
            whole = rng.choice((zipped, old))
            whole(_damaged(rng, table(weight=tensor(), model=table(weight=tensor()))), path)
        else:
            path.write_bytes(_damaged(rng, rng.choice(honest)) or PROTO + STOP)
        with nothing_runs(path):
            try:
                load_checkpoint(nn.Linear(2, 2, bias=False), path)
                counts["read"] += 1
            except ValueError as error:
                said = str(error)
                kinds = ("refused", "damaged", "fits", "fit ", "no dict of tensors", "weight ")
                counts[next(kind for kind in kinds if kind in said)] += 1
    return counts


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as where:
        print(run(Path(where), given.seed, minutes=given.minutes))
