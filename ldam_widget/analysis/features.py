"""Features of images for a map: their pixels, or what a layer of a model makes of them."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Literal

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from tqdm.auto import tqdm

from ..core.notes import Notes
from ..data import Images, fingerprint
from ..data.images import DatasetImages
from ..embedding.space import Space
from ..network.addresses import Address, parse
from ..network.capture import Capture
from ..network.inputs import Inputs, call_with
from ..network.trace import Preprocess
from ..network.traced import Traced
from ..network.view import choose_device, device_of, hash_of, private_view

At = Literal["all", "mean"]

_CHECKED = 32  # images whose features are computed again before kept ones are used
_ALIKE = 1e-3  # difference of features that are the same, in units of their spread
_KEPT = 4  # results in memory
_TENSORS = ("points", "beyond", "mean", "components")  # of a `Space`


class LayerFeatures:
    """Images -> outputs of a layer.

    Args:
        model: any `nn.Module`, left unchanged.
        layer: as in `ldam.layers`; None: what the model returns, before a softmax.
        input_shape: of one image.
        at: of feature maps: "all" their values, or their "mean" over positions.
        preprocess, inputs: as for `Sampler`.
        device: None: CUDA if available, else the model's.

    Raises:
        TypeError, ValueError: an unknown layer, one without units, an `input_shape` that does not fit.
    """

    def __init__(
        self,
        model: nn.Module,
        layer: str | None,
        input_shape: tuple[int, ...],
        at: At,
        preprocess: Preprocess | None,
        inputs: Inputs | None,
        device: torch.device | str | None,
    ) -> None:
        if at not in ("all", "mean"):
            raise ValueError(f"at must be 'all' or 'mean'; got {at!r}")
        notes = Notes()
        view = private_view(model, choose_device(model, device), notes, shared=False)
        call_with(view, inputs)
        self._traced, self._at = Traced.of(view, input_shape, preprocess, layer, notes), at
        self._capture = Capture(view, [_address(self._traced, layer)])
        (address,) = self._capture.places
        self._place = self._traced.place(address)
        self.one_by_one = bool(self._traced.coupled_before([address]))
        self.key = f"{address} {at} {hash_of(view)}"

    def __call__(self, images: Tensor) -> Tensor:
        """(n, *image) -> (n, d) float32, on the CPU."""
        with torch.inference_mode(False), torch.no_grad():
            x = images.to(device_of(self._traced.view))
            (output,) = self._capture(lambda: self._traced.run(x))
        units = self._place.in_order(output)
        if self._at == "mean" and units.ndim > 2:
            units = units.flatten(2).mean(2)
        return units.flatten(1).float().cpu()


class PixelFeatures:
    """Images -> their pixels."""

    one_by_one = False
    key = "pixels"

    def __call__(self, images: Tensor) -> Tensor:
        return images.flatten(1).float().cpu()


Features = LayerFeatures | PixelFeatures


class InBatches:
    """Images of this shape -> features, of any number of images, from any thread."""

    def __init__(self, features: Features, input_shape: tuple[int, ...], batch: int = 256) -> None:
        self._features, self._batch = features, 1 if features.one_by_one else batch
        self._shape = tuple(input_shape)
        self._turn = threading.Lock()  # a capture is one pass at a time

    def __call__(self, images: Tensor) -> Tensor:
        """(n, *image) -> (n, d) float32, on the CPU; n ≥ 1. Raises ValueError for images of another shape."""
        if tuple(images.shape[1:]) != self._shape:
            raise ValueError(f"images of the map have shape {self._shape}; got {tuple(images.shape[1:])}")
        with self._turn:
            return torch.cat([self._features(some) for some in torch.split(images, self._batch)])


def range_of(images: Images, given: tuple[float, float] | None) -> tuple[float, float] | None:
    """The pixel range of images: as given, (0, 1) for pictures and bytes, None for other numbers."""
    if given is not None:
        return given
    if not isinstance(images, DatasetImages):
        return 0.0, 1.0
    return (0.0, 1.0) if getattr(images.held, "dtype", None) == torch.uint8 else None


def space_of(
    features: Features,
    images: Images,
    *,
    batch: int,
    device: torch.device,
    cache: str | os.PathLike[str] | bool,
    progress: bool,
) -> Space:
    """The features of all images, reduced to at most 50 dimensions; kept ones if these are still right.

    They are kept by a hash of the weights, the layer and the images, see `fingerprint`. Before they are used, 32 of
    them are computed again, so that another `preprocess` or another forward pass is noticed, too.

    Raises:
        ValueError: images that cannot be read, or features that are not finite.
        MemoryError: the features of all images do not fit into memory.
    """
    key = hashlib.sha256(f"{features.key} {fingerprint(images)}".encode()).hexdigest()[:32]
    batch = 1 if features.one_by_one else batch
    store: Store = _Folder(Path(cache)) if not isinstance(cache, bool) else _MEMORY if cache else _Folder(None)
    kept = store.load(key)
    if kept is not None and _still_right(kept, features, images, batch):
        return _on(kept, device)
    space = Space.of(_all(features, images, batch, progress).to(device))
    store.save(key, _on(space, torch.device("cpu")))
    return space


def _all(features: Features, images: Images, batch: int, progress: bool) -> Tensor:
    found: Tensor | None = None
    for chosen in tqdm(torch.split(torch.arange(len(images)), batch), "features", unit="batch", disable=not progress):
        some = features(_taken(images, chosen))
        if found is None:
            found = _room(len(images), some.shape[1])
        found[chosen] = some
    assert found is not None, "there is at least one image"
    sound = found.isfinite().all(1)
    if not bool(sound.all()):
        raise ValueError(
            f"the layer's output is NaN or infinite for image {int((~sound).nonzero()[0])}; choose another"
        )
    return found


def _room(images: int, values: int) -> Tensor:
    try:
        return torch.empty(images, values, dtype=torch.float32, device="cpu")
    except RuntimeError as error:
        raise MemoryError(
            f"{values} features of {images} images take {images * values * 4 / 1e9:.0f} GB; give at='mean', or fewer "
            "images"
        ) from error


def _taken(images: Images, chosen: Tensor) -> Tensor:
    x = images.take(chosen)
    if images.skipped:
        number, why = next(iter(images.skipped.items()))
        raise ValueError(f"images: {images.name(number)} cannot be read ({why}); remove it")
    return x


def _still_right(kept: Space, features: Features, images: Images, batch: int) -> bool:
    if len(kept.points) != len(images):
        return False
    some = torch.linspace(0, len(images) - 1, min(_CHECKED, len(images)), dtype=torch.float64).long()
    now = torch.cat([features(_taken(images, chosen)) for chosen in torch.split(some, batch)])
    if now.shape[1] != len(kept.mean) or not bool(now.isfinite().all()):
        return False
    return float((kept.project(now) - kept.points[some]).norm(dim=1).max()) < _ALIKE


def _on(space: Space, device: torch.device) -> Space:
    return space._replace(**{name: getattr(space, name).to(device) for name in _TENSORS})


class _Memory:
    """The last few results."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, Space] = OrderedDict()

    def load(self, key: str) -> Space | None:
        return self._kept.get(key)

    def save(self, key: str, space: Space) -> None:
        self._kept[key] = space
        while len(self._kept) > _KEPT:
            self._kept.popitem(last=False)


class _Folder:
    """A file for each result; None: nothing is kept."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def load(self, key: str) -> Space | None:
        if self._folder is None or not (file := self._folder / f"{key}.safetensors").is_file():
            return None
        try:
            with safe_open(file, "pt") as opened:
                unit = float(json.loads((opened.metadata() or {})["unit"]))
                return Space(**{name: opened.get_tensor(name) for name in _TENSORS}, unit=unit)
        except (SafetensorError, ValueError, KeyError, TypeError):
            return None  # damaged; it is written again

    def save(self, key: str, space: Space) -> None:
        if self._folder is None:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        tensors = {name: getattr(space, name).contiguous() for name in _TENSORS}
        written = self._folder / f"{key}.part{os.getpid()}"
        written.write_bytes(save(tensors, {"unit": json.dumps(space.unit)}))
        written.replace(self._folder / f"{key}.safetensors")


Store = _Memory | _Folder
_MEMORY = _Memory()


def _address(traced: Traced, layer: str | None) -> Address | str:
    if layer is not None:
        return parse(layer, traced.trace.names) or layer  # `Capture` says what is wrong with it
    own = traced.trace.own.address
    if own is None:
        raise ValueError("the model returns nothing that has units; give layer=, one of layers(model, input_shape)")
    return own
