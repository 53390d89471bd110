"""What a survey is of: noted in its folder, and compared before a run goes on or parts are merged."""

from __future__ import annotations

import math
import operator
from typing import Any

import torch
from torch import nn

from ..core.notes import QuietNotes
from ..data.images import Images, fingerprint
from ..network.capture import Capture
from ..network.trace import Preprocess
from ..network.view import hash_of
from .folder import FORMAT
from .layout import Network

_TOGETHER, _PIXELS = 256, 2**21  # images in a batch, at most, and about how many numbers they have
_CLOSE = 1e-3  # relative difference of answers that are the same: threads and machines round differently
_SAME = {
    "model": "another model or other weights",
    "data": "other images or labels",
    "layers": "other layers",
    "k": "another k",
    "batch": "another batch size",
    "correlation": "another choice of correlation=",
    "answers": "a model that answers differently: other code, or another preprocess=",
}


def card_of(network: Network, images: Images, k: int, batch: int | None, correlation: bool) -> dict[str, Any]:
    """All settings of a survey that has not begun, JSON-safe."""
    return {
        "format": FORMAT,
        "model": hash_of(network.view),
        "answers": _answers(network),
        "data": fingerprint(images),
        "images": len(images),
        "input_shape": list(network.input_shape),
        "layers": [{"name": each.name, "units": each.units, "map": list(each.map)} for each in network.layers],
        "k": k,
        "batch": batch if batch is not None else 1 if network.one_by_one else _batch(network.input_shape),
        "correlation": correlation,
        "class_names": list(images.class_names),
        "looked_at": 0,
        "done": [],
        "skipped": {},
    }


def difference(one: dict[str, Any], other: dict[str, Any]) -> str | None:
    """In what respect two surveys cannot be one, e.g. "of other images"; None: they can."""
    for key, words in _SAME.items():
        if key == "answers":
            same = all(math.isclose(a, b, rel_tol=_CLOSE, abs_tol=1e-6)
                       for a, b in zip(one[key], other[key], strict=True))  # fmt: skip
        else:
            same = one[key] == other[key]
        if not same:
            shown = f" ({one[key]} and {other[key]})" if key in ("k", "batch", "data") else ""
            return words + shown
    return None


def integer(value: Any) -> int | None:
    """Any kind of integer, NumPy's too; None: it is none."""
    try:
        return None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        return None


def joined(ranges: list[list[int]]) -> list[list[int]]:
    """Ranges [first, end) in order, with neighbours joined. Raises ValueError where two overlap."""
    found: list[list[int]] = []
    for first, end in sorted(ranges):
        if found and first < found[-1][1]:
            raise ValueError(f"images {first} to {min(end, found[-1][1]) - 1} are in two of the parts")
        if found and first == found[-1][1]:
            found[-1][1] = end
        elif end > first:
            found.append([first, end])
    return found


def _batch(shape: tuple[int, ...]) -> int:
    """Independent of the machine, as sums of floating-point numbers within the network depend on it."""
    return max(8, min(_TOGETHER, 1 << max(0, round(math.log2(_PIXELS / math.prod(shape))))))


def answers(view: nn.Module, shape: tuple[int, ...], preprocess: Preprocess | None, layers: Any) -> list[float]:
    """What the card of a survey of these layers says of how the model answers. ValueError if it lacks one of them."""
    with torch.inference_mode(False), torch.no_grad():
        return _answers(Network(view, shape, preprocess, layers, QuietNotes()))


def _answers(network: Network) -> list[float]:
    """The mean output of each layer, without sign, for random images: shows what the weights do not."""
    own = torch.Generator().manual_seed(1)
    x = torch.rand(1, *network.input_shape, generator=own, device="cpu", dtype=torch.float32)
    capture = Capture(network.view, [each.address for each in network.layers], lambda out: float(out.abs().mean()))
    found: list[float] = capture(lambda: network.forward(x))
    return [value if math.isfinite(value) else 0.0 for value in found]
