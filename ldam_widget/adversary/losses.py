"""The losses of a discriminator update, over a real and a sampled half of images."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from ..core.random_numbers import drawing_from
from ..core.target import per_image
from ..objectives.discriminator_net import DiscriminatorNet
from .recipe import Recipe


class Losses:
    """The losses of a recipe.

    Args:
        net: the network being trained; left in training mode.
        given: images -> network input.
        recipe: see `Recipe`.
        pixel_range: of the images, (lo, hi), or None.
        first_images: count -> that many start images x0 of the sampler.
        choose, noise: random generators, on the CPU and on the device.
    """

    def __init__(
        self,
        net: DiscriminatorNet,
        given: Callable[[Tensor], Tensor],
        recipe: Recipe,
        pixel_range: tuple[float, float] | None,
        first_images: Callable[[int], Tensor],
        choose: torch.Generator,
        noise: torch.Generator,
    ) -> None:
        self._net, self._given, self._recipe, self._range = net, given, recipe, pixel_range
        self._span = 1.0 if pixel_range is None else pixel_range[1] - pixel_range[0]
        self._first_images, self._choose, self._noise = first_images, choose, noise

    def disturbed(self, images: Tensor) -> Tensor:
        """Add noise and shifts, identically distributed in both halves: D must not tell them apart by either."""
        recipe = self._recipe
        if recipe.shift and images.ndim == 4:
            by = recipe.shift
            down, right = torch.randint(0, 2 * by + 1, (2,), generator=self._choose).tolist()
            height, width = images.shape[2:]
            padded = F.pad(images, (by, by, by, by), mode="replicate")
            images = padded[:, :, down : down + height, right : right + width]
        if recipe.image_noise:
            noise = torch.randn(images.shape, generator=self._noise, device=images.device, dtype=torch.float32)
            strength = torch.rand(len(images), generator=self._noise, device=images.device, dtype=torch.float32)
            images = images + noise * per_image(recipe.image_noise * self._span * strength, images)
            if self._range is not None:
                images = images.clamp(*self._range)
        return images

    def of(self, real: Tensor, fake: Tensor, own: torch.Generator) -> tuple[Tensor, Tensor]:
        """The sum of the losses over both halves, (n, *image) each, and the logits (2n,), real ones first.

        Dropout draws from `own`.
        """
        recipe, n = self._recipe, len(real)
        self._net.train()
        # one pass for both halves: batch norm must not tell them apart by separate statistics
        both = torch.cat([real, fake]).requires_grad_(recipe.penalty > 0)
        logits = self._logits(both, own)
        wanted = torch.cat([torch.full((n,), recipe.label), torch.zeros(n)]).to(logits)
        loss = F.binary_cross_entropy_with_logits(logits, wanted)
        if recipe.penalty:
            (steep,) = torch.autograd.grad(logits[:n].sum(), both, create_graph=True)
            loss = loss + recipe.penalty / 2 * (self._span * steep[:n]).flatten(1).square().sum(1).mean()
        if recipe.denoising:
            loss = loss + recipe.denoising * self._misdirection(real, own)
        return loss, logits

    def _logits(self, x: Tensor, own: torch.Generator) -> Tensor:
        with drawing_from(own):
            logits: Tensor = self._net(self._given(x))
        return logits.flatten()

    def _misdirection(self, real: Tensor, own: torch.Generator) -> Tensor:
        """Mean of 1 − cos(∇ logit(x), real − x) over points x on straight lines from real images to x0."""
        share = torch.rand(len(real), generator=self._noise, device=real.device, dtype=torch.float32)
        share = share**1.5  # more points near the images
        start = self._first_images(len(real))
        x = torch.lerp(real, start, per_image(share, real)).requires_grad_(True)
        self._net.eval()  # as in use: images are independent, and batch norm does not count these noisy mixtures
        (slope,) = torch.autograd.grad(self._logits(x, own).sum(), x, create_graph=True)
        way = real - x.detach()
        return 1 - F.cosine_similarity(slope.flatten(1), way.flatten(1)).mean()
