"""Judges of all kinds: what they draw is not the user's, and every picture is judged alone."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ldam_widget import Sampler

from .conftest import with_fixed_weights

SHAPE = (1, 6, 6)
IMAGES = torch.rand(40, *SHAPE, generator=torch.Generator().manual_seed(3))


class Judge(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.fc = nn.Linear(36, 8), nn.Linear(8, 4)

    def between(self, h: Tensor) -> Tensor:
        return h

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.between(self.stem(x.flatten(1)).relu()))


class Dropping(Judge):
    def between(self, h: Tensor) -> Tensor:
        return F.dropout(h, 0.2)


class Drawing(Judge):
    def between(self, h: Tensor) -> Tensor:
        np.random.rand()  # noqa: NPY002
        random.random()
        return h


class Centred(Judge):
    def between(self, h: Tensor) -> Tensor:
        return h + 5 * (h - h.mean(0))


class OneAtATime(Judge):
    def forward(self, x: Tensor) -> Tensor:
        (x,) = x  # fails for more
        return super().forward(x[None])


class Wrapped(Judge):
    def forward(self, x: Tensor) -> Any:
        return {"logits": super().forward(x)}


@pytest.fixture(scope="module")
def sampler() -> Sampler:
    s = Sampler(
        with_fixed_weights(Judge), input_shape=SHAPE, pixel_range=(0, 1), neurons=[0, 1], warm_up=3, execution="plain"
    )
    s.step(5)
    return s


@pytest.mark.parametrize("kind", [Dropping, Drawing])
def test_judges_draw_numbers_of_their_own(sampler: Sampler, kind: type[Judge]) -> None:
    judge = with_fixed_weights(kind)
    before = torch.get_rng_state(), str(np.random.get_state()), random.getstate()  # noqa: NPY002
    sampler.belief(IMAGES, judge=judge, judge_preprocess=lambda x: x + 0.01 * torch.rand_like(x), steps=2)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert str(np.random.get_state()) == before[1]  # noqa: NPY002
    assert random.getstate() == before[2]


@pytest.mark.parametrize("kind", [Centred, OneAtATime])
def test_pictures_are_judged_alone(sampler: Sampler, kind: type[Judge]) -> None:
    """Alone, these judges say what the plain one says."""
    plain = sampler.belief(IMAGES, judge=with_fixed_weights(Judge), steps=2)
    found = sampler.belief(IMAGES, judge=with_fixed_weights(kind), steps=2)
    assert [each.recognised for each in found.neurons] == [each.recognised for each in plain.neurons]
    assert [each.recognised_as for each in found.neurons] == [each.recognised_as for each in plain.neurons]


def test_a_judge_that_returns_a_dict_is_refused(sampler: Sampler) -> None:
    with pytest.raises(ValueError, match=r"class scores \(n, classes\), one tensor; it returned a dict .*'logits'"):
        sampler.belief(IMAGES, judge=with_fixed_weights(Wrapped), steps=2)
