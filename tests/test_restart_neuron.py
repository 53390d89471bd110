"""One neuron's chains begin again, in a picture; those of the others go on as if nothing had happened."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from ldam_widget import Ladder, Sampler
from ldam_widget.kernels import BAOAB, GHMC, MALA, Algorithm1
from ldam_widget.parametrizations import Natural

from .conftest import with_fixed_weights

SHAPE = (1, 6, 6)


def sampler(**options: Any) -> Sampler:
    model = with_fixed_weights(lambda: nn.Sequential(nn.Flatten(), nn.Linear(36, 8), nn.Tanh(), nn.Linear(8, 4)), 1)
    settings: dict[str, Any] = {"input_shape": SHAPE, "pixel_range": (0, 1), "chains": 2, "neurons": [0, 1, 3]}
    return Sampler(model, execution="plain", **settings | {"prior": None, "warm_up": 8} | options)


@pytest.mark.parametrize(
    "options",
    [
        {"kernel": BAOAB(0.1)},
        {"kernel": GHMC()},
        {"kernel": MALA(), "ladder": Ladder([1, 3])},
        {"kernel": Algorithm1()},
        {"kernel": BAOAB(0.1), "goal": 0.3},
    ],
    ids=lambda options: "-".join([options["kernel"].name, *list(options)[1:]]),
)
def test_the_others_go_on_bit_for_bit(options: dict[str, Any]) -> None:
    one, other = sampler(**options), sampler(**options)
    picture = torch.rand(SHAPE, generator=torch.Generator().manual_seed(2))
    for each in (one, other):
        each.step(12)
    law = other.params, other.scales, other.temperatures
    other.restart_neuron(1, picture)
    assert torch.equal(other.images[1], picture.expand(2, *SHAPE))
    assert torch.equal(other.images[[0, 2]], one.images[[0, 2]])
    assert other.steps == one.steps
    assert (other.params, other.scales, other.temperatures) == law
    for each in (one, other):
        each.step(6)
    assert torch.allclose(other.images[[0, 2]], one.images[[0, 2]], atol=1e-6)
    assert not torch.equal(other.images[1], one.images[1])
    assert not torch.equal(other.images[1], picture.expand(2, *SHAPE))


def test_each_chain_in_its_own_picture_and_with_the_natural_prior_near_it() -> None:
    pictures = torch.rand(2, *SHAPE, generator=torch.Generator().manual_seed(3))
    s = sampler(kernel=BAOAB(0.1))
    s.step(10)
    s.restart_neuron(0, pictures)
    assert torch.equal(s.images[0], pictures)
    prior = Natural.of(torch.rand(200, *SHAPE, generator=torch.Generator().manual_seed(4)))
    s = sampler(prior=prior)
    s.step(10)
    s.restart_neuron(2, 0.5 + 0.05 * pictures[0])
    assert torch.allclose(s.images[2], (0.5 + 0.05 * pictures[0]).expand(2, *SHAPE), atol=0.05)


def test_bad_input_changes_nothing() -> None:
    s = sampler(kernel=BAOAB(0.1))
    s.step(10)
    before = s.images
    for column, start, error, message in (
        (3, "grey", ValueError, "column must be an integer from 0 to 2; got 3"),
        (True, "grey", ValueError, "column"),
        ("1", "grey", TypeError, "column must be an integer from 0 to 2; got '1'"),
        (0, torch.zeros(3), ValueError, "start must be one picture of shape"),
        (0, torch.full(SHAPE, 2.0), ValueError, "outside of pixel_range"),
        (0, "data", ValueError, "give dataset="),
    ):
        with pytest.raises(error, match=message):
            s.restart_neuron(column, start)  # type: ignore[arg-type]
    assert torch.equal(s.images, before)
