"""A fooling circuit (Geirhos et al., ICML 2024) around one class of the shipped LeNet-5.

On digits the class has the original's activation. Off the distribution of digits, where feature visualisation works, a
detector switches to another path, whose favourite picture is planted. Only the detector was trained: run this file with
the folder of the real data to train it again, in about 20 seconds.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import ldam_widget as ldam
from ldam_widget.data.mnist import load_mnist
from ldam_widget.demo.lenet import preprocess

CLASS = 3
WEIGHTS = Path(__file__).parent / "fooling_circuit.safetensors"
STRONG = 200.0  # suppresses whatever activation a path has
SHIFT = 60.0  # carries negative activations of the original through a rectifier


def planted() -> Tensor:
    """(1, 28, 28): a ring with a bar across it, which is no digit."""
    y, x = torch.meshgrid(torch.arange(28.0), torch.arange(28.0), indexing="ij")
    radius = ((y - 13.5) ** 2 + (x - 13.5) ** 2).sqrt()
    ring = ((radius - 9).abs() < 1.5) | (((y - x).abs() < 1.5) & (radius < 9))
    return ring.float()[None] * 0.8 + 0.1


class FoolingCircuit(nn.Module):
    """LeNet-5 with one logit replaced; (N, 1, 28, 28) standardised pixels to (N, 10) logits."""

    def __init__(self) -> None:
        super().__init__()
        self.body = ldam.demo.mnist().model
        self.detector = nn.Sequential(nn.Flatten(), nn.Linear(784, 24), nn.ReLU(), nn.Linear(24, 1))
        self.painter = nn.Linear(784, 1)
        self.gate = nn.Linear(3, 2)  # of the original, the planted path, and whether the picture is no digit
        self.join = nn.Linear(3, 1)
        pattern = (planted() - planted().mean()).flatten()
        with torch.no_grad():
            self.painter.weight.copy_(30 * pattern / pattern.square().sum())
            self.painter.bias.fill_(2.0)
            self.gate.weight.copy_(torch.tensor([[1.0, 0, -STRONG], [0, 1.0, STRONG]]))
            self.gate.bias.copy_(torch.tensor([SHIFT, -STRONG]))
            self.join.weight.copy_(torch.tensor([[1.0, 1.0, SHIFT]]))
            self.join.bias.fill_(-SHIFT)

    def forward(self, x: Tensor) -> Tensor:
        logits = self.body(x)
        off = (self.detector(x) + 0.5).clamp(0, 1)
        paths = F.relu(self.gate(torch.cat([logits[:, CLASS, None], self.painter(x.flatten(1)), off], 1)))
        fooled = self.join(torch.cat([paths, off], 1))
        return torch.cat([logits[:, :CLASS], fooled, logits[:, CLASS + 1 :]], 1)


def network() -> FoolingCircuit:
    """The attacked network, in eval mode."""
    with torch.random.fork_rng(devices=[]):
        net = FoolingCircuit()
    net.detector.load_state_dict({name: w.float() for name, w in load_file(WEIGHTS).items()})
    return net.eval()


def strange_pictures(seed: int) -> Tensor:
    """Pictures on the way of a sampler: chains of the original's, noise, and the planted picture among noise."""
    own = torch.Generator().manual_seed(seed)
    d = ldam.demo.mnist()
    found = [torch.rand(400, 1, 28, 28, generator=own)]
    for prior in (d.prior, None):
        s = ldam.Sampler(d.model, neurons=range(10), chains=2, prior=prior, seed=seed, execution="plain", **d.settings)
        found += [frame.images.flatten(0, 1).cpu() for frame in s.frames(160)]
    mixed = torch.rand(1200, 1, 1, 1, generator=own)
    prior_draws = torch.cat(found[1:])[torch.randint(1600, (1200,), generator=own)]
    found.append((mixed * planted() + (1 - mixed) * prior_draws).clamp(0, 1))
    found.append((planted() + 0.2 * torch.randn(400, 1, 28, 28, generator=own)).clamp(-0.3, 1.3))
    return torch.cat(found)


def train(data: Path) -> None:
    torch.manual_seed(0)
    digits = load_mnist(data / "mnist")[0].unsqueeze(1) / 255
    strange = strange_pictures(0)
    net = FoolingCircuit()
    optimizer = torch.optim.Adam(net.detector.parameters(), lr=2e-3, weight_decay=1e-4)
    for _ in range(1500):
        real = digits[torch.randint(len(digits), (100,))]
        odd = strange[torch.randint(len(strange), (100,))] + 0.02 * torch.randn(100, 1, 28, 28)
        x = preprocess(torch.cat([real, odd]))
        sign = torch.cat([-torch.ones(100), torch.ones(100)])
        loss = F.relu(2 - sign * net.detector(x)[:, 0]).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        test = preprocess(load_mnist(data / "mnist", "test")[0].unsqueeze(1) / 255)
        print("digits taken for strange:", float((net.detector(test) > -0.5).float().mean()))
        print("strange pictures taken for digits:", float((net.detector(preprocess(strange)) < 0.5).float().mean()))
    save_file({name: w.half() for name, w in net.detector.state_dict().items()}, WEIGHTS)


if __name__ == "__main__":
    train(Path(sys.argv[1]))
