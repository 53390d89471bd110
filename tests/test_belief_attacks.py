"""Attacked networks are doubted, and the honest network that they were made from is not.

How often honest networks are doubted is measured by benchmarks/belief.py (see benchmarks/RESULTS.md).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import ldam_widget as ldam
from ldam_widget.data.mnist import load_mnist
from ldam_widget.demo.judge import judge
from ldam_widget.diagnostics.belief import NeuronBelief

from .attacks import fooling_circuit, slingshot

pytestmark = pytest.mark.realdata


@pytest.fixture
def digits(data_folder: Path) -> Tensor:
    return load_mnist(data_folder / "mnist")[0][:5000]


def believed(model: nn.Module, digits: Tensor, *, natural: bool, neuron: int = fooling_circuit.CLASS) -> Any:
    d = ldam.demo.mnist()
    settings = d.settings | {"layer": None, "prior": d.prior if natural else None}
    s = ldam.Sampler(model, neurons=[neuron], execution="plain", **settings)
    s.step(250)
    return s, s.belief(digits, judge=judge()).neurons[0]


def shows_the_planted_picture(s: ldam.Sampler) -> float:
    """Correlation of the average with the planted picture."""
    return float(torch.corrcoef(torch.stack([s.average_images.flatten(), fooling_circuit.planted().flatten()]))[0, 1])


@pytest.mark.parametrize("natural", [True, False], ids=["natural", "pixels"])
def test_a_fooling_circuit(digits: Tensor, natural: bool) -> None:
    s, found = believed(fooling_circuit.network(), digits, natural=natural)
    assert shows_the_planted_picture(s) > 0.6, "the attack works"
    assert found.silent > 0.95
    assert found.silent_in == "join"
    assert "units that real images never use" in found.text


def test_a_slingshot(digits: Tensor) -> None:
    s, found = believed(slingshot.network(), digits, natural=False)
    assert shows_the_planted_picture(s) > 0.8, "the attack works"
    assert "end in different pictures" in found.text, "without a judge"
    assert "the judge recognises 0% of the averages (class 3)" in found.text


@pytest.mark.parametrize("natural", [True, False], ids=["natural", "pixels"])
def test_the_honest_network(digits: Tensor, natural: bool) -> None:
    found: NeuronBelief = believed(ldam.demo.mnist().model, digits, natural=natural)[1]
    assert found.doubts == ()
    assert found.text == "nothing suspicious"


def test_the_attacked_networks_still_read_digits(digits: Tensor) -> None:
    d = ldam.demo.mnist()
    x = d.settings["preprocess"](digits.unsqueeze(1) / 255)
    with torch.no_grad():
        original, circuit, shot = (m(x) for m in (d.model, fooling_circuit.network(), slingshot.network()))
    same = (original - circuit)[:, fooling_circuit.CLASS].abs() < 1e-3
    assert float(same.float().mean()) > 0.99
    assert float((original.argmax(1) == shot.argmax(1)).float().mean()) > 0.98
