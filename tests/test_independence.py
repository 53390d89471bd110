"""Every activation is that of its image alone, with the right gradient, whatever the network does with a batch."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import ldam_widget as ldam

from .conftest import with_fixed_weights

SHAPE = (3, 8, 8)


class Net(nn.Module):
    """Features (N, T, 6) of patches, and a head."""

    def __init__(self, mix: Callable[[Tensor], Tensor] = lambda h: h) -> None:
        super().__init__()
        self.patches, self.mix, self.head = nn.Conv2d(3, 6, 4, 4), mix, nn.Linear(24, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.mix(self.patches(x).flatten(2).transpose(1, 2)).tanh().flatten(1))


def across_images(h: Tensor) -> Tensor:
    """Attention that takes the batch for the sequence."""
    return F.scaled_dot_product_attention(h.transpose(0, 1), h.transpose(0, 1), h.transpose(0, 1)).transpose(0, 1)


MIXED: dict[str, Callable[[Tensor], Tensor]] = {
    "mean over the batch": lambda h: h - 0.5 * h.mean(0),
    "attention along the batch": across_images,
    "functional batch norm": lambda h: F.batch_norm(h.flatten(1)[:, None], None, None, training=True).view_as(h),
    "softmax over the batch": lambda h: h + h.softmax(0),
    "one image leaks into the next": lambda h: h + 0.1 * h.roll(1, 0),
}


def alone(model: nn.Module, s: ldam.Sampler) -> Tensor:
    """The activations of the sampler's images by the user's model, one at a time; (neuron, chain)."""
    with torch.no_grad():
        return torch.stack([torch.stack([model(x[None])[0, n] for x in own]) for n, own in enumerate(s.images)])


@pytest.mark.slow
@pytest.mark.parametrize("mix", MIXED.values(), ids=MIXED.keys())
def test_images_that_influence_each_other_are_computed_one_at_a_time(mix: Callable[[Tensor], Tensor]) -> None:
    model = with_fixed_weights(lambda: Net(mix)).eval()
    with pytest.warns(ldam.LDAMWarning, match="influence each other.*one at a time"):
        s = ldam.Sampler(model, input_shape=SHAPE, neurons=range(3), chains=2, device="cpu")
    s.step(5)
    torch.testing.assert_close(s.activation, alone(model, s), atol=1e-4, rtol=1e-4)
    before = len(s.notes)
    s.select(None, [4, 0, 1])
    s.step(1)
    assert len(s.notes) == before, "reported once"


class Chaotic(nn.Module):
    """(N, 1, 6, 6) -> (N, 4); rounds otherwise in a batch, as matrix products do, and blows that up."""

    def __init__(self, off: float) -> None:
        super().__init__()
        self.stem, self.off = nn.Linear(36, 4), off

    def forward(self, x: Tensor) -> Tensor:
        h = (3 * self.stem(x.flatten(1))).tanh()
        for _ in range(40):
            h = (1 - 2 * h**2) * (1 - self.off * (len(x) > 1))
        return h


def test_a_gradient_that_explodes_is_no_influence() -> None:
    """As in EfficientNetV2 with random weights, whose gradient by autograd is off by 200 % for any batch."""
    model = with_fixed_weights(lambda: Chaotic(2e-7)).eval()
    with pytest.warns(ldam.LDAMWarning, match="changes with the last bits of the image"):
        s = ldam.Sampler(model, input_shape=(1, 6, 6), neurons=[1], chains=2, device="cpu", execution="plain")
    assert not any("influence each other" in note for note in s.notes)
    with torch.no_grad():
        own = [float(model(x[None])[0, 1]) for x in s.images[0]]
    assert s.activation[0].tolist() == own


def test_a_single_chain_gets_no_note_of_it() -> None:
    model = with_fixed_weights(lambda: Net(MIXED["mean over the batch"])).eval()
    s = ldam.Sampler(model, input_shape=SHAPE, neurons=[2], device="cpu")
    s.step(3)
    torch.testing.assert_close(s.activation[0, 0], model(s.images[0])[0, 2].detach(), atol=1e-5, rtol=1e-4)
    assert not any("influence" in note for note in s.notes)


class OneImage(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(192, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x.reshape(1, 192))


def test_a_model_that_takes_one_image_at_a_time() -> None:
    model = with_fixed_weights(OneImage)
    with pytest.warns(ldam.LDAMWarning, match="takes one image at a time"):
        s = ldam.Sampler(model, input_shape=SHAPE, neurons=range(3), chains=2, device="cpu")
    s.step(4)
    torch.testing.assert_close(s.activation, alone(model, s), atol=1e-5, rtol=1e-4)


class Tokens(nn.Module):
    """Where torch 2.13's backward pass of batch norm is wrong for one image: its gradient has the strides of tokens."""

    def __init__(self, first: bool) -> None:
        super().__init__()
        self.conv, self.norm, self.fc, self.first = (
            nn.Conv2d(3, 16, 3, 2, 1),
            nn.BatchNorm2d(16),
            nn.Linear(16, 5),
            first,
        )
        self.norm.running_var.uniform_(0.5, 2)
        self.norm.running_mean.uniform_(-1, 1)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.norm(self.conv(x)).flatten(2).transpose(1, 2)
        return self.fc(tokens[:, 0] if self.first else tokens.amax(1))


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("chains", [1, 2])
@pytest.mark.filterwarnings("ignore::ldam_widget.LDAMWarning")
def test_the_gradient_of_a_single_chain(first: bool, chains: int) -> None:
    """Overdamped and cold, two steps move by the gradient; against finite differences of the user's model."""
    model = with_fixed_weights(lambda: Tokens(first)).eval()
    s = ldam.Sampler(
        model, input_shape=SHAPE, neurons=[1], chains=chains, device="cpu", prior=None, kernel=ldam.kernels.ULA(1e-3),
        scale="none", temperature=0.0, execution="plain",
    )  # fmt: skip
    s.step(1)
    before = s.images[0, 0].double()
    s.step(1)
    moved = (s.images[0, 0].double() - before).flatten()
    exact, slopes = model.double(), []
    with torch.no_grad():
        for i in range(moved.numel()):
            step = torch.zeros_like(moved)
            step[i] = 1e-4
            ahead, behind = (exact((before.flatten() + sign * step).view(1, *SHAPE))[0, 1] for sign in (1, -1))
            slopes.append((ahead - behind) / 2e-4)
    assert float(F.cosine_similarity(moved, torch.stack(slopes), dim=0)) > 0.99


class Capacity(nn.Module):
    """A layer that serves the first images of a batch, as experts with a limited capacity do."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.head = nn.Linear(192, 8), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        h = self.fc(x.flatten(1)).tanh()
        served = torch.arange(len(x), device=x.device)[:, None] < 4
        return self.head(torch.where(served, h, 0 * h))


@pytest.mark.parametrize("kind", ["capacity", "groups"])
def test_influence_that_two_images_do_not_show(kind: str) -> None:
    def groups(h: Tensor) -> Tensor:  # the spread within groups of four, as in discriminators
        size = 4 if len(h) % 4 == 0 else 1
        spread = h.view(-1, size, *h.shape[1:]).std(1, correction=0).mean((1, 2))
        return h + spread.repeat_interleave(size)[:, None, None]

    model = with_fixed_weights(Capacity if kind == "capacity" else lambda: Net(groups)).eval()
    with pytest.warns(ldam.LDAMWarning, match="influence each other"):
        s = ldam.Sampler(model, input_shape=SHAPE, neurons=[0, 3], chains=4, device="cpu")
    s.step(2)
    expected = torch.stack(
        [torch.stack([model(x[None])[0, n].detach() for x in own]) for n, own in zip((0, 3), s.images, strict=True)]
    )
    torch.testing.assert_close(s.activation, expected, atol=1e-4, rtol=1e-4)
