"""`Jitter` and `Robust` against plainer ways to the same pictures."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import nn

import ldam_widget as ldam
from ldam_widget.kernels import BAOAB, GHMC


def test_jitter_rolls_every_picture_by_its_own_numbers() -> None:
    x = torch.rand(40, 3, 9, 11)
    numbers = torch.rand(40, 2, dtype=torch.float64)
    shifts = (numbers * 7).long() - 3
    expected = torch.stack([i.roll((int(dy), int(dx)), (1, 2)) for i, (dy, dx) in zip(x, shifts, strict=True)])
    assert torch.equal(ldam.Jitter(3).apply(x, numbers), expected)
    assert set(shifts.flatten().tolist()) == set(range(-3, 4))


def test_jitter_of_signals_and_of_the_ends_of_its_numbers() -> None:
    x = torch.rand(2, 2, 16)
    ends = torch.tensor([[0.0, 0.3], [1 - 2**-53, 0.3]], dtype=torch.float64)
    moved = ldam.Jitter(2).apply(x, ends)
    assert torch.equal(moved[0], x[0].roll(-2, 1))
    assert torch.equal(moved[1], x[1].roll(2, 1))


@pytest.mark.parametrize("shape", [(3, 12, 12), (1, 9, 16)])
def test_robust_leaves_a_picture_alone_in_the_middle_of_its_numbers(shape: tuple[int, ...]) -> None:
    x = torch.rand(2, *shape)
    same = ldam.Robust().apply(x, torch.full((2, 4), 0.5, dtype=torch.float64))
    torch.testing.assert_close(same, x, rtol=0, atol=1e-5)


def test_robust_turns_pixels_and_not_the_unit_square() -> None:
    """Two points of light keep their distance, in a picture that is not square."""
    y, x = torch.meshgrid(torch.arange(32.0), torch.arange(64.0), indexing="ij")
    light = sum(torch.exp(-((y - 15.5) ** 2 + (x - at) ** 2) / 8) for at in (20.0, 44.0))
    picture = torch.as_tensor(light).expand(1, 1, 32, 64)
    numbers = torch.tensor([[0.5, 0.5, 0.5, 1.0]], dtype=torch.float64)
    turned = ldam.Robust(rotation=20.0).apply(picture, numbers)[0, 0]
    places = []
    for half in (slice(0, 32), slice(32, 64)):
        part = turned[:, half] / turned[:, half].sum()
        places.append(torch.stack([(part * y[:, half]).sum(), (part * x[:, half]).sum()]))
    dy, dx = places[1] - places[0]
    assert float(torch.hypot(dy, dx)) == pytest.approx(24, rel=0.02)
    assert float(torch.rad2deg(torch.atan2(dy.abs(), dx))) == pytest.approx(20, abs=1)


@pytest.mark.parametrize("transforms", [ldam.Jitter(2), ldam.Robust(), ldam.Blur(3.0)], ids=str)
def test_changes_are_linear_and_keep_what_is_flat(transforms: ldam.Jitter | ldam.Robust | ldam.Blur) -> None:
    a, b = torch.rand(3, 2, 10, 12), torch.rand(3, 2, 10, 12)
    numbers = torch.rand(3, transforms.numbers, dtype=torch.float64)
    both = transforms.apply(2 * a - b, numbers)
    torch.testing.assert_close(both, 2 * transforms.apply(a, numbers) - transforms.apply(b, numbers))
    flat = torch.full_like(a, 0.3)
    torch.testing.assert_close(transforms.apply(flat, numbers), flat)


@pytest.mark.parametrize("shape", [(16,), (2, 11), (3, 9, 12), (1, 6, 7, 8)], ids=str)
def test_blur_is_scipy_s_with_a_width_for_every_picture(shape: tuple[int, ...]) -> None:
    """To 1e-4: scipy takes its weights at the pixels alone, which makes a difference of exp(−½σ²π²) at σ = 1.5."""
    x = torch.rand(4, *shape, dtype=torch.float64)
    numbers = torch.tensor([[0.0], [0.5], [0.7], [0.9]], dtype=torch.float64)
    blurred = ldam.Blur(3.0).apply(x, numbers)
    torch.testing.assert_close(blurred[0], x[0])
    for chain in (1, 2, 3):
        sigma = 3 * float(numbers[chain, 0])
        along = sigma if len(shape) == 1 else [0.0, *[sigma] * (len(shape) - 1)]
        expected = ndimage.gaussian_filter(x[chain].numpy(), along, truncate=8.0)
        np.testing.assert_allclose(blurred[chain].numpy(), expected, atol=1e-4)


def test_a_neuron_averaged_over_blurs() -> None:
    """Through the sampler: fresh widths at every step, and four fixed ones where an energy is needed."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(48, 2))
    for kernel in (BAOAB(0.1), GHMC(0.1)):
        s = ldam.Sampler(
            net, input_shape=(3, 4, 4), pixel_range=(0, 1), transforms=ldam.Blur(1.0), kernel=kernel, scale="none"
        )
        s.step(5)
        assert "Blur(sigma=1.0)" in s.kernel_note


@pytest.mark.parametrize(("make", "message"), [
    (lambda: ldam.Jitter(0), "≥ 1; got 0"),
    (lambda: ldam.Jitter(1.5), "got 1.5"),  # type: ignore[arg-type]
    (lambda: ldam.Jitter(True), "got True"),
    (lambda: ldam.Jitter(8).check((3, 16, 40)), "wider than 16 pixels"),
    (lambda: ldam.Jitter(1).check((16,)), "wider than"),
    (lambda: ldam.Blur(0), "> 0; got 0"),
    (lambda: ldam.Blur(float("inf")), "> 0; got inf"),
    (lambda: ldam.Robust(jitter=0.6), "jitter must be between 0 and 0.5"),
    (lambda: ldam.Robust(scale=-1), "scale must be"),
    (lambda: ldam.Robust(rotation=float("nan")), "rotation must be"),
    (lambda: ldam.Robust().check((2, 40)), r"\(2, 40\)"),
])  # fmt: skip
def test_invalid_arguments_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
