"""Models of unusual kinds: several rows per image, hooks that the model needs, preprocessing of single images; and what
is said where nothing can be done."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import ldam_widget as ldam

from .conftest import with_fixed_weights

SHAPE = (1, 6, 6)
FRAMES = (3, 1, 6, 6)  # (T, C, H, W)

pytestmark = pytest.mark.filterwarnings("ignore::ldam_widget.LDAMWarning")


class Base(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(36, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x.flatten(1))


def sampler(model: nn.Module, **settings: Any) -> ldam.Sampler:
    given: dict[str, Any] = {"input_shape": SHAPE, "chains": 2, "device": "cpu", "warm_up": 2}
    return ldam.Sampler(model, **given | settings)


# ---- several rows per image ------------------------------------------------------------------------------------------


class Video(nn.Module):
    """A network per frame, and a recurrent one over frames."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc, self.gru = nn.Conv2d(1, 4, 3), nn.Linear(64, 6), nn.GRU(6, 7, batch_first=True)
        self.head = nn.Linear(7, 5)

    def forward(self, x: Tensor) -> Tensor:
        frames = self.conv(x.flatten(0, 1)).tanh()
        features = self.fc(frames.flatten(1)).unflatten(0, x.shape[:2])
        return self.head(self.gru(features)[0][:, -1])


class TimeFirst(Video):
    """The same with the frames of all videos interleaved."""

    def forward(self, x: Tensor) -> Tensor:
        frames = self.conv(x.transpose(0, 1).flatten(0, 1)).tanh()
        features = self.fc(frames.flatten(1)).view(x.shape[1], len(x), -1)
        return self.head(self.gru(features.transpose(0, 1))[0][:, -1])


class Windows(nn.Module):
    """Attention within windows of 2 × 2, as in Swin: (image · window, place, feature)."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.norm = nn.Conv2d(1, 8, 1), nn.LayerNorm(8)
        self.attend, self.head = nn.MultiheadAttention(8, 2, batch_first=True), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        h = self.embed(x).permute(0, 2, 3, 1)
        w = h.view(len(x), 3, 2, 3, 2, 8).permute(0, 1, 3, 2, 4, 5).reshape(-1, 4, 8)
        w = self.norm(self.attend(w, w, w, need_weights=False)[0])
        return self.head(w.view(len(x), -1, 8).mean(1))


def hooked(model: nn.Module, layer: str, x: Tensor) -> Tensor:
    """What a layer of the user's model gives for one image."""
    found: list[Any] = []
    handle = model.get_submodule(layer).register_forward_hook(lambda *call: found.append(call[-1]))
    model(x[None])
    handle.remove()
    return (found[0] if isinstance(found[0], Tensor) else found[0][0]).detach()


# model, shape of its images, layer, shape listed, a neuron, where it is in what the layer gives for one image
ROWS: dict[str, tuple[type[nn.Module], tuple[int, ...], str, tuple[int, ...], Any, tuple[int, ...]]] = {
    "a map of every frame": (Video, FRAMES, "conv", (3, 4, 4, 4), (2, 1, 0, 3), (1, 2, 0, 3)),
    "the middle of the middle frame": (Video, FRAMES, "conv", (3, 4, 4, 4), 2, (1, 2, 2, 2)),
    "features of every frame": (Video, FRAMES, "fc", (3, 6), (4, 2), (2, 4)),
    "frames interleaved": (TimeFirst, FRAMES, "fc", (3, 6), (4, 2), (2, 4)),
    "maps interleaved": (TimeFirst, FRAMES, "conv", (3, 4, 4, 4), (3, 0, 1, 1), (0, 3, 1, 1)),
    "windows": (Windows, SHAPE, "norm", (9, 4, 8), (5, 7, 3), (7, 3, 5)),
    "attention in windows": (Windows, SHAPE, "attend[0]", (9, 4, 8), (5, 0, 1), (0, 1, 5)),
}


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "shape", "layer", "listed", "neuron", "place"), ROWS.values(), ids=ROWS.keys())
@pytest.mark.parametrize("chains", [1, 3])
def test_layers_with_several_rows_per_image(
    kind: type[nn.Module], shape: tuple[int, ...], layer: str, listed: tuple[int, ...], neuron: Any,
    place: tuple[int, ...], chains: int,
) -> None:  # fmt: skip
    model = with_fixed_weights(kind)
    assert next(row.shape for row in ldam.layers(model, shape) if row.name == layer) == listed
    s = sampler(model, input_shape=shape, layer=layer, neurons=[neuron], chains=chains)
    s.step(4)
    expected = [hooked(model, layer.partition("[")[0], x)[place] for x in s.images[0]]
    torch.testing.assert_close(s.activation[0], torch.stack(expected), atol=1e-5, rtol=1e-4)


def test_rows_that_are_no_images_are_not_listed() -> None:
    class Positions(Base):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Linear(2, 36)

        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x + self.table(torch.ones(3, 2)).mean(0).view(1, 1, 6, 6))

    assert [row.name for row in ldam.layers(with_fixed_weights(Positions), SHAPE)] == ["fc"]


# ---- hooks that the model needs --------------------------------------------------------------------------------------


class ReadsHooks(Base):
    """Reads hidden states that its own hooks have collected, as transformers' models do."""

    def __init__(self, once: bool) -> None:
        super().__init__()
        self.stem, self.once, self.kept = nn.Linear(36, 36), once, {}
        if not once:
            self.stem.register_forward_hook(self.keep)

    def keep(self, module: nn.Module, inputs: Any, output: Tensor) -> None:
        self.kept["stem"] = output

    def forward(self, x: Tensor) -> Tensor:
        if self.once:  # installed in the first pass
            self.stem.register_forward_hook(self.keep)
            self.once = False
        self.kept.clear()
        self.stem(x.flatten(1))
        return self.fc(self.kept["stem"].tanh())


@pytest.mark.parametrize("once", [True, False])
@pytest.mark.parametrize("used", [True, False])
def test_hooks_whose_collection_the_model_reads(once: bool, used: bool) -> None:
    model = with_fixed_weights(lambda: ReadsHooks(once))
    if used:
        model(torch.zeros(2, *SHAPE))
    s = sampler(model, neurons=[1])
    s.step(3)
    with torch.no_grad():
        torch.testing.assert_close(s.activation[0], model(s.images[0])[:, 1], atol=1e-5, rtol=1e-4)
    assert len(model.stem._forward_hooks) == 1


# ---- preprocessing ---------------------------------------------------------------------------------------------------


def unpacking(x: Tensor) -> Tensor:
    channels, _, _ = x.shape
    return (x - 0.5) / channels


def by_row(x: Tensor) -> Tensor:
    if x.ndim != 3:
        raise TypeError("pic should be 3 dimensional")
    return x.flip(1) * 2


@pytest.mark.parametrize("preprocess", [unpacking, by_row])
def test_a_preprocess_of_single_images(preprocess: Callable[[Tensor], Tensor]) -> None:
    model = with_fixed_weights(Base)
    assert len(ldam.layers(model, SHAPE, preprocess)) == 1
    s = sampler(model, neurons=[1, 2], preprocess=preprocess)
    s.step(3)
    given = torch.stack([preprocess(x) for x in s.images[1]])
    torch.testing.assert_close(s.activation[1], model(given)[:, 2].detach(), atol=1e-5, rtol=1e-4)
    assert any("preprocess takes one image at a time" in note for note in s.notes)


def test_a_preprocess_that_takes_neither_is_told_as_of_a_batch() -> None:
    with pytest.raises(ValueError, match=r"preprocess failed on a batch of shape \(1, 1, 6, 6\)"):
        sampler(Base(), preprocess=lambda x: x.view(7, 7))


# ---- gradients within a forward pass ---------------------------------------------------------------------------------


class Gradient(Base):
    """Its features are the gradient of an energy."""

    def forward(self, x: Tensor) -> Tensor:
        h = torch.func.grad(lambda y: super(Gradient, self).forward(y).pow(2).sum())(x)
        return super().forward(h)


class Jacobian(Base):
    def forward(self, x: Tensor) -> Tensor:
        h = torch.func.vmap(torch.func.jacrev(lambda y: super(Jacobian, self).forward(y[None])[0].square().sum()))(x)
        return super().forward(h)


@pytest.mark.parametrize("kind", [Gradient, Jacobian])
def test_torch_func_within_a_forward_pass(kind: type[Base]) -> None:
    model = with_fixed_weights(kind)
    s = sampler(model, neurons=[1])
    s.step(3)
    torch.testing.assert_close(s.activation[0], model(s.images[0])[:, 1].detach(), atol=1e-5, rtol=1e-4)


# ---- what is said ----------------------------------------------------------------------------------------------------


class Inference(Base):
    @torch.inference_mode()
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)


class PartlyInference(Base):
    def forward(self, x: Tensor) -> Tensor:
        with torch.inference_mode():
            h = 2 * x
        return super().forward(h)


class Spectrum(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.fft.rfft2(x)


class Masked(Base):
    def forward(self, x: Tensor, mask: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(x * mask.view(-1, 1, 6, 6))


class Keypoints(Base):
    """As many scores as there are bright pixels."""

    def forward(self, x: Tensor) -> Tensor:
        h = super().forward(x)
        return h.repeat(1, 3)[:, : 2 + int((x > 0.5).sum()) % 5]


def conv(channels: int, axes: int = 2) -> nn.Module:
    kind = nn.Conv2d if axes == 2 else nn.Conv1d
    return nn.Sequential(kind(channels, 2, 3), nn.Flatten(), nn.Linear(8, 5))


SAID: dict[str, tuple[Callable[[], nn.Module], dict[str, Any], str]] = {
    "inference mode": (Inference, {}, "its path runs under torch.inference_mode"),
    "inference mode in part": (PartlyInference, {}, r"its path is cut \(torch.no_grad or inference_mode"),
    "complex": (
        lambda: nn.Sequential(Spectrum(), nn.Flatten()), {"layer": "0"}, r"gives complex numbers \(torch.complex64\)",
    ),
    "complex, flattened": (lambda: nn.Sequential(Spectrum(), nn.Flatten()), {"layer": "1"}, "gives complex numbers"),
    "float8": (lambda: Base().to(torch.float8_e4m3fn), {}, r"weights are float8.*give model.float\(\)"),
    "other float8": (lambda: conv(1).to(torch.float8_e5m2), {}, "weights are float8"),
    "no channel": (lambda: conv(1), {"input_shape": (4, 4)}, r"channels are missing: is it input_shape=\(1, 4, 4\)\?"),
    "no channels": (lambda: conv(3), {"input_shape": (4, 4)}, r"is it input_shape=\(3, 4, 4\)\?"),
    "no channel of a signal": (lambda: conv(2, 1), {"input_shape": (6,)}, r"is it input_shape=\(2, 6\)\?"),
    "channels last": (lambda: conv(3), {"input_shape": (4, 4, 3)}, r"Channels come first: is it .*\(3, 4, 4\)"),
    "rows of another input": (
        Masked, {"inputs": {"mask": torch.ones(3, 36)}}, r"inputs\['mask'\] has 3 rows; a tensor of one row",
    ),
    "rows that fail": (
        lambda: Masked(), {"inputs": {"mask": torch.ones(2, 30)}}, r"inputs\['mask'\] has 2 rows; a tensor of one row",
    ),
    "an output of many sizes": (Keypoints, {}, "for one image and .* for another; neurons need an output of one size"),
    "negative": (Base, {"neurons": [-3]}, "neuron -3 is out of range.* What neuron 3 dislikes is written '-3'"),
    "negative in a tuple": (Base, {"neurons": [(-1,)]}, "What neuron 1 dislikes is written '-1'"),
    "a name of too few": (
        Base, {"class_names": ["a", "b"], "neurons": ["a"]}, "class_names are 2, and layer 'fc' has 5 units",
    ),
    "a name of too many": (
        Base, {"class_names": list("abcdef"), "neurons": [0, "f"]}, "class_names are 6, and layer 'fc' has 5 units",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("make", "settings", "says"), SAID.values(), ids=SAID.keys())
def test_what_cannot_be_is_said(make: Callable[[], nn.Module], settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        sampler(make(), **settings)


def test_a_wrong_number_of_class_names_is_told() -> None:
    s = sampler(Base(), class_names=["a", "b"])
    assert any("class_names are 2, and layer 'fc' has 5 units: they are not used" in note for note in s.notes)
    hidden = nn.Sequential(nn.Flatten(), nn.Linear(36, 8), nn.Linear(8, 2))
    assert not sampler(hidden, class_names=["a", "b"], layer="1").notes, "names are those of the output"


@pytest.mark.parametrize(("name", "neuron"), [("a:b", "d.a:b:2"), ("x", "d.x:2"), ("1:2", "d.1:2:2")])
def test_colons_in_the_name_of_a_layer(name: str, neuron: str) -> None:
    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.d, self.head = nn.ModuleDict({name: nn.Linear(36, 5)}), nn.Linear(5, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.d[name](x.flatten(1)).tanh())

    model = with_fixed_weights(Named)
    s = sampler(model, neurons=[neuron])
    assert s.layer == f"d.{name}"
    torch.testing.assert_close(s.activation[0], model.d[name](s.images[0].flatten(1))[:, 2].detach())
    both = sampler(model, neurons=[f"{neuron} - 0.5*(output):1"])
    assert both.activation.isfinite().all()


def test_weights_of_float8_that_the_model_converts() -> None:
    class Stored(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(5, 36).to(torch.float8_e4m3fn), requires_grad=False)

        def forward(self, x: Tensor) -> Tensor:
            return x.flatten(1) @ self.weight.float().T

    model = with_fixed_weights(Stored)
    s = sampler(model, neurons=[1])
    s.step(2)
    torch.testing.assert_close(s.activation[0], model(s.images[0])[:, 1], atol=1e-5, rtol=1e-4)


def test_a_slice_of_what_is_no_volume() -> None:
    w = ldam.LDAM(Base(), input_shape=SHAPE, device="cpu", neurons=[0])
    try:
        with pytest.raises(AttributeError, match="only volumes, with input_shape="):
            w.slice = 3
    finally:
        w.close()
