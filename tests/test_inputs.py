"""Models that take more than a batch of images, against the user's own call of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import ldam_widget as ldam

from .conftest import with_fixed_weights

SHAPE = (1, 6, 6)
MASK = torch.linspace(0, 1, 8)[None]


class Base(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.fc = nn.Linear(36, 8), nn.Linear(8, 5)

    def logits(self, x: Tensor, mask: Tensor) -> Tensor:
        return self.fc(self.stem(x.flatten(1)).tanh() * mask)


class Two(Base):
    def forward(self, x: Tensor, mask: Tensor, *, scale: float = 1.0) -> Tensor:
        assert len(mask) == len(x)
        return self.logits(x, mask) * scale


class OfDict(Base):
    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"logits": self.logits(batch["image"], MASK)}


class Detector(Base):
    """A list of images in, a list of dicts out; a backbone on the whole batch."""

    def forward(self, images: list[Tensor]) -> list[dict[str, Tensor]]:
        assert isinstance(images, list)
        scores = self.logits(torch.stack(images), MASK)
        return [{"scores": each} for each in scores]


CALLS: dict[str, tuple[type[Base], Any, Callable[[Any, Tensor], Tensor], str | None]] = {
    "by name": (Two, {"mask": MASK, "scale": 2.0}, lambda m, x: m(x, MASK.expand(len(x), -1), scale=2.0), None),
    "as a tuple": (Two, lambda x: (x, MASK.expand(len(x), -1)), lambda m, x: m(x, MASK.expand(len(x), -1)), None),
    "in a dict": (OfDict, lambda x: {"image": x}, lambda m, x: m({"image": x})["logits"], None),
    "as a list": (Detector, list, lambda m, x: torch.stack([each["scores"] for each in m(list(x))]), "fc"),
}


@pytest.mark.parametrize(("kind", "inputs", "own", "layer"), CALLS.values(), ids=CALLS.keys())
@pytest.mark.parametrize("chains", [1, 3])
def test_activations_are_those_of_the_users_call(
    kind: type[Base], inputs: Any, own: Callable[[Any, Tensor], Tensor], layer: str | None, chains: int
) -> None:
    model = with_fixed_weights(kind)
    assert ldam.layers(model, SHAPE, inputs=inputs)[1].name == "fc"
    s = ldam.Sampler(
        model, input_shape=SHAPE, neurons=[0, 3], layer=layer, chains=chains, device="cpu", inputs=inputs, warm_up=2
    )
    s.step(5)
    expected = torch.stack([own(model, s.images[i])[:, unit] for i, unit in enumerate((0, 3))]).detach()
    torch.testing.assert_close(s.activation, expected, atol=1e-5, rtol=1e-5)
    s.select("stem", [2])
    s.step(2)
    torch.testing.assert_close(s.activation[0], model.stem(s.images[0].flatten(1))[:, 2].detach(), atol=1e-5, rtol=1e-5)


def test_models_side_by_side_take_the_same() -> None:
    models = {"a": with_fixed_weights(Two, 1), "b": with_fixed_weights(Two, 2)}
    both = ldam.Comparison(models, input_shape=SHAPE, neurons=[1], device="cpu", inputs={"mask": MASK})
    both.step(2)
    for name, model in models.items():
        own = both.samplers[list(models).index(name)]
        torch.testing.assert_close(own.activation[0], model(own.images[0], MASK)[:, 1].detach())


def test_what_is_missing_is_named() -> None:
    with pytest.raises(ValueError, match=r"missing 1 required positional argument: 'mask'.*inputs=\{'name': value\}"):
        ldam.Sampler(with_fixed_weights(Two), input_shape=SHAPE, neurons=[1], device="cpu")
    with pytest.raises(TypeError, match="inputs must be a dict of the model's other arguments"):
        ldam.Sampler(with_fixed_weights(Two), input_shape=SHAPE, neurons=[1], device="cpu", inputs=MASK)  # type: ignore[arg-type]
