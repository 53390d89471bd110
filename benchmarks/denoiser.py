"""A denoiser of CIFAR-10 as a prior: trains a small one, samples with it, and draws what it gives.

    python benchmarks/denoiser.py cifar10/cifar10_lossless_5k.npz --out denoiser.png

Some minutes on one core. RESULTS.md, "A denoiser as a prior", says what is seen.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

import ldam_widget as ldam
from ldam_widget.kernels import BAOAB

SIGMAS = (0.05, 0.5)  # of the noise in training, drawn log-uniformly
LEVELS = (0.4, 0.2, 0.1)  # from coarse to fine


class SmallDenoiser(nn.Module):
    """A U-Net of three sizes, 110,000 weights, told σ; it predicts the noise and takes it away."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        wider = 2 * width
        self.first = nn.Conv2d(4, width, 3, padding=1)
        self.down1 = nn.Conv2d(width, wider, 3, stride=2, padding=1)
        self.down2 = nn.Conv2d(wider, wider, 3, stride=2, padding=1)
        self.middle = nn.Conv2d(wider, wider, 3, padding=1)
        self.up2 = nn.Conv2d(2 * wider, wider, 3, padding=1)
        self.up1 = nn.Conv2d(wider + width, width, 3, padding=1)
        self.last = nn.Conv2d(width, 3, 3, padding=1)

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        level = (sigma.log() / 2).view(-1, 1, 1, 1)
        y = torch.cat([(x - 0.5) / (sigma.view(-1, 1, 1, 1) ** 2 + 0.0625).sqrt(), level.expand_as(x[:, :1])], 1)
        fine = F.silu(self.first(y))
        middle = F.silu(self.down1(fine))
        coarse = F.silu(self.down2(middle))
        coarse = coarse + F.silu(self.middle(coarse))
        middle = F.silu(self.up2(torch.cat([middle, F.interpolate(coarse, scale_factor=2)], 1)))
        fine = F.silu(self.up1(torch.cat([fine, F.interpolate(middle, scale_factor=2)], 1)))
        return x - sigma.view(-1, 1, 1, 1) * self.last(fine)


def trained(images: Tensor, minutes: float, seed: int = 0) -> SmallDenoiser:
    """Trained on images (n, 3, 32, 32) in 0…1, by the squared error in units of the noise."""
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    net = SmallDenoiser()
    optimiser = torch.optim.Adam(net.parameters(), 2e-3)
    began, steps, loss = time.process_time(), 0, math.nan
    while (spent := (time.process_time() - began) / (60 * minutes)) < 1:
        for group in optimiser.param_groups:
            group["lr"] = 2e-3 * (1 + math.cos(math.pi * spent)) / 2
        clean = images[torch.randint(len(images), (64,), generator=generator)]
        clean = torch.where(torch.rand(64, 1, 1, 1, generator=generator) < 0.5, clean.flip(3), clean)
        low, high = map(math.log, SIGMAS)
        sigma = (low + (high - low) * torch.rand(64, generator=generator)).exp()
        noise = torch.randn(clean.shape, generator=generator)
        noisy = clean + sigma.view(-1, 1, 1, 1) * noise
        error = ((net(noisy, sigma) - clean) / sigma.view(-1, 1, 1, 1)).square().mean()
        optimiser.zero_grad()
        error.backward()
        optimiser.step()
        steps += 1
        loss = float(error.detach()) if math.isnan(loss) else 0.99 * loss + 0.01 * float(error.detach())
    print(f"{steps} steps, {sum(p.numel() for p in net.parameters()):,} weights, error {loss:.4f} (of 1: no denoising)")
    return net.eval()


def sampled(net: SmallDenoiser, neuron: int, temperature: float, chains: int, steps: int) -> tuple[Tensor, Tensor]:
    """Chains of p_σ(x) · exp(f(x)/T), one level of noise after the other; where they end, denoised, and f there.

    With λ = T, E/T = f/T + log p_σ: the temperature is that of the neuron alone.
    """
    d, start = ldam.demo.cifar("final"), torch.full((3, 32, 32), 0.5)
    for sigma in LEVELS:
        s = ldam.Sampler(
            d.model, neurons=[neuron], prior=None, scale="none", temperature=temperature, chains=chains, seed=neuron,
            regularizers=[ldam.Denoiser(net, sigma, temperature)], start=start,
            kernel=BAOAB(0.5 * sigma / math.sqrt(temperature), math.sqrt(temperature) / sigma),
            execution="plain", **{**d.settings, "pixel_range": None},
        )  # fmt: skip
        s.step(steps)
        start = s.images[0]
    clean = ldam.Denoiser(net, LEVELS[-1]).denoised(start)
    return clean.clamp(0, 1), s.activation[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="an .npz with 32 × 32 colour images, uint8")
    parser.add_argument("--minutes", type=float, default=5.0, help="of CPU time, for training")
    parser.add_argument("--steps", type=int, default=150, help="at each level of noise")
    parser.add_argument("--chains", type=int, default=4, help="of each neuron, at least 2")
    parser.add_argument("--temperatures", type=float, nargs="+", default=[100.0, 0.3, 0.05])
    parser.add_argument("--weights", type=Path, help="where to keep the trained weights, or find them")
    parser.add_argument("--out", type=Path, default=Path("denoiser.png"))
    asked = parser.parse_args()
    torch.set_num_threads(1)
    if asked.weights is not None and asked.weights.exists():
        net = SmallDenoiser().eval()
        net.load_state_dict(torch.load(asked.weights, weights_only=True))
    else:
        with np.load(asked.data) as arrays:
            pixels = next(array for name, array in arrays.items() if array.ndim == 4 and "train" in name)
        net = trained(torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255, asked.minutes)
        if asked.weights is not None:
            torch.save(net.state_dict(), asked.weights)
    judge = ldam.demo.cifar("averaged")
    rows = []
    for temperature in asked.temperatures:
        began = time.perf_counter()
        tiles, right, activations = [], [], []
        for neuron in range(10):
            clean, f = sampled(net, neuron, temperature, asked.chains, asked.steps)
            with torch.no_grad():
                right.append(judge.model(judge.settings["preprocess"](clean)).argmax(1) == neuron)
            tiles.append(torch.cat([*clean[:2]], 1))
            activations.append(f)
        rows.append(torch.cat(tiles, 2))
        agreed, mean = torch.cat(right).float().mean(), torch.cat(activations).mean()
        print(
            f"T {temperature:g}: mean activation {mean:.2f}; the network's averaged weights agree on {agreed:.0%} of "
            f"{10 * asked.chains}; {time.perf_counter() - began:.0f} s",
            flush=True,
        )
    picture = (torch.cat(rows, 1).permute(1, 2, 0) * 255).byte().numpy()
    Image.fromarray(picture).resize((picture.shape[1] * 3, picture.shape[0] * 3), Image.Resampling.NEAREST).save(
        asked.out
    )
    print(f"wrote {asked.out}")


if __name__ == "__main__":
    main()
