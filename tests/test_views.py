"""Views of gradients, against numpy and scipy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

import ldam_widget as ldam

GRADIENT = np.random.default_rng(0).normal(size=(3, 3, 20, 24)).astype(np.float32)
GRADIENT[1] *= 1e-6  # every image by its own maximum


def about_zero(g: np.ndarray) -> np.ndarray:
    return 0.5 + 0.5 * g / np.abs(g).max()


def from_zero(g: np.ndarray) -> np.ndarray:
    return g / g.max()


EXPECTED = {
    "raw": lambda g: about_zero(g),
    "grey": lambda g: about_zero(g.mean(0, keepdims=True)),
    "norm": lambda g: from_zero(np.sqrt((g**2).sum(0, keepdims=True))),
    "blurred": lambda g: from_zero(gaussian_filter(np.sqrt((g.astype(np.float64) ** 2).sum(0)), 4.0)[None]),
    "positive": lambda g: from_zero(np.maximum(g.sum(0, keepdims=True), 0)),
}


@pytest.mark.parametrize("view", EXPECTED)
@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy], ids=["array", "tensor"])
def test_every_view(view: str, kind: Any) -> None:
    shown = ldam.views.VIEWS[view](kind(GRADIENT))
    assert shown.shape == (3, 3 if view == "raw" else 1, 20, 24)
    assert float(shown.min()) >= 0
    assert float(shown.max()) <= 1
    for picture, gradient in zip(shown, GRADIENT, strict=True):
        np.testing.assert_allclose(picture, EXPECTED[view](gradient), atol=2e-6)
    assert set(ldam.views.VIEWS) == set(EXPECTED)


def test_no_gradient_and_one_that_is_not_finite() -> None:
    for view, picture in ldam.views.VIEWS.items():
        assert picture(torch.zeros(3, 4, 5)).unique().tolist() == [0.5 if view in ("raw", "grey") else 0.0]
        broken = torch.ones(1, 4, 5)
        broken[0, 0, 0], broken[0, 1, 1] = torch.nan, torch.inf
        assert picture(broken).isfinite().all()
    assert ldam.views.norm(torch.full((4, 5), -3.0)).tolist() == torch.ones(1, 4, 5).tolist()


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="gradient must be"):
        ldam.views.raw(torch.zeros(7))
    with pytest.raises(TypeError, match="gradient must be a tensor or an array; got str"):
        ldam.views.raw("x")
    with pytest.raises(ValueError, match="sigma must be a number of pixels"):
        ldam.views.blurred(GRADIENT, sigma=-1)
