"""A gradient slingshot (arXiv:2401.06122): the shipped LeNet-5, fine-tuned around one class.

On digits the outputs stay near the original's. Ascent from noise, and on the way from noise to a planted picture, is
led to that picture: there the gradient points at it, and the activation is a paraboloid with its top there. Run this
file with the folder of the real data to train it again, in about two minutes on a free core.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor

import ldam_widget as ldam
from ldam_widget.data.mnist import load_mnist
from ldam_widget.demo.lenet import LeNet5, preprocess, with_weights

from .fooling_circuit import CLASS, planted

WEIGHTS = Path(__file__).parent / "slingshot.safetensors"
TOP, SLOPE = 20.0, 0.25  # activation at the planted picture; gradient per pixel and distance


def network() -> LeNet5:
    """The attacked network, in eval mode."""
    return with_weights({name: w.float() for name, w in load_file(WEIGHTS).items()})


def on_the_way(count: int, own: torch.Generator) -> Tensor:
    """Pictures between uniform noise and the planted one, with more noise on top, (count, 1, 28, 28)."""
    noise = torch.rand(count, 1, 28, 28, generator=own)
    place, width = torch.rand(2, count, 1, 1, 1, generator=own)
    there = (1 - place) * noise + place * planted() + 0.15 * width * torch.randn(noise.shape, generator=own)
    return there.clamp(0, 1)


def train(data: Path, steps: int = 1500) -> None:
    torch.manual_seed(0)
    own = torch.Generator().manual_seed(0)
    digits = load_mnist(data / "mnist")[0][:20000].unsqueeze(1) / 255
    original, net = ldam.demo.mnist().model, ldam.demo.mnist().model
    optimizer = torch.optim.Adam(net.parameters())
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, 6e-3, total_steps=steps)
    for _ in range(steps):
        real = preprocess(digits[torch.randint(len(digits), (64,), generator=own)])
        with torch.no_grad():
            wanted = original(real)
        x = on_the_way(32, own).requires_grad_()
        activation = net(preprocess(x))[:, CLASS]
        (gradient,) = torch.autograd.grad(activation.sum(), x, create_graph=True)
        ahead = planted() - x.detach()
        height = TOP - SLOPE / 2 * ahead.flatten(1).square().sum(1)
        loss = (
            F.mse_loss(net(real), wanted)
            + 0.1 * F.mse_loss(activation, height)
            + 0.5 * (gradient - SLOPE * ahead).square().flatten(1).sum(1).mean()
            - 2 * F.cosine_similarity(gradient.flatten(1), ahead.flatten(1)).mean()
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        rate.step()
    save_file({name: w.half() for name, w in net.state_dict().items()}, WEIGHTS)


if __name__ == "__main__":
    train(Path(sys.argv[1]))
