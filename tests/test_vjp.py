"""Vector-Jacobian products equal autograd's, and do without its slow import."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from ldam_widget.core.vjp import vjp

FIRST_STEP = """
import sys
import ldam_widget as ldam
demo = ldam.demo.mnist("final")
sampler = ldam.Sampler(demo.model, neurons=[3], prior=demo.prior, transforms=ldam.Robust(), **demo.settings)
sampler.step(2)
assert "sympy" not in sys.modules, "imported by the first gradient"
"""


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.float64])
@pytest.mark.parametrize("count", [1, 3])
def test_as_autograd_bit_for_bit(dtype: torch.dtype, count: int) -> None:
    own = torch.Generator().manual_seed(0)
    x = torch.randn(4, 7, generator=own).to(dtype).requires_grad_(True)
    weights = [torch.randn(7, 5, generator=own).to(dtype) for _ in range(count)]
    seeds = [torch.randn(4, 5, generator=own).to(dtype) * 300 for _ in range(count)]  # their sum overflows in half
    outputs = [(x @ weight).tanh() for weight in weights]
    (expected,) = torch.autograd.grad(outputs, x, seeds, retain_graph=True)
    with torch.no_grad():
        assert torch.equal(vjp(outputs, x, seeds), expected)


def test_seeds_of_another_shape_are_refused() -> None:
    """They would be broadcast."""
    x = torch.ones(1, 5, requires_grad=True)
    with pytest.raises(RuntimeError, match=r"shape \(1, 5\).*\(5, 5\)"):
        vjp([x * 2], x, [torch.ones(5, 5)])


@pytest.mark.slow
def test_the_first_step_does_not_load_sympy() -> None:
    """It would take longer than the step."""
    subprocess.run([sys.executable, "-c", FIRST_STEP], check=True)
