"""Discriminators on disk: weights as safetensors, with a JSON description in the same file. Never a pickle."""

from __future__ import annotations

import json
import os
import uuid
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from .discriminator_net import DiscriminatorNet, rebuild

FORMAT = "ldam-discriminator-1"
_PREFIX = "net."


class Stored(NamedTuple):
    """Contents of a file."""

    design: dict[str, Any]  # see `DiscriminatorNet.design`
    pixel_range: tuple[float, float] | None
    card: dict[str, Any]  # how it was trained
    weights: dict[str, Tensor]  # state dict of the network
    more: dict[str, Tensor]  # tensors for resuming training; empty in a file for inference only


def save_discriminator(
    net: DiscriminatorNet, path: str | os.PathLike[str], card: dict[str, Any], more: dict[str, Tensor] | None = None
) -> None:
    """Write a discriminator atomically.

    Args:
        net: the network to write.
        path: of the file.
        card: JSON-safe training settings.
        more: further tensors, for resuming training.
    """
    path = Path(path)
    tensors = {_PREFIX + name: value for name, value in net.state_dict().items()} | (more or {})
    # cloned, since safetensors rejects tensors that share memory, such as tied weights
    tensors = {name: value.detach().cpu().clone(memory_format=torch.contiguous_format)
               for name, value in tensors.items()}  # fmt: skip
    metadata = {
        "format": FORMAT,
        "design": json.dumps(net.design),
        "pixel_range": json.dumps(net.pixel_range),
        "card": json.dumps(card),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex}")  # unique, in case of concurrent writers
    try:
        draft.write_bytes(save(tensors, metadata))
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def read(path: str | os.PathLike[str]) -> Stored:
    """Read a file written by `save_discriminator`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, or not a discriminator in our format.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no discriminator file {path}")
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (no mapping)
    except (SafetensorError, OSError, ValueError) as error:
        raise ValueError(
            f"{path} is damaged or not a safetensors file ({error}); discriminators are written by train_discriminator"
        ) from error
    if metadata.get("format") != FORMAT:
        raise ValueError(
            f"{path} holds weights, but not a discriminator that train_discriminator wrote (no {FORMAT!r} in "
            "its metadata). To use weights of your own, load them into your network and give that: "
            "Discriminator(net, weight)"
        )
    try:
        design, card = json.loads(metadata["design"]), json.loads(metadata["card"])
        ends = json.loads(metadata["pixel_range"])
        pixel_range = None if ends is None else (float(ends[0]), float(ends[1]))
        if not (isinstance(design, dict) and isinstance(card, dict)):
            raise ValueError("design and card must be objects")
    except (KeyError, ValueError, TypeError, IndexError) as error:
        raise ValueError(f"{path} is damaged: its description cannot be read ({error})") from error
    weights = {name.removeprefix(_PREFIX): value for name, value in tensors.items() if name.startswith(_PREFIX)}
    more = {name: value for name, value in tensors.items() if not name.startswith(_PREFIX)}
    return Stored(design, pixel_range, card, weights, more)


def load_discriminator(path: str | os.PathLike[str], model: nn.Module | None = None) -> DiscriminatorNet:
    """The network in a file, in eval mode on the CPU.

    Args:
        path: of a file written by `save_discriminator`.
        model: the classifier, required if the discriminator copies its layers.

    Raises:
        FileNotFoundError, ValueError: see `read`; also if a classifier is needed, or its layers have changed.
    """
    stored = read(path)
    return restored(stored, path, model)


def restored(stored: Stored, path: str | os.PathLike[str], model: nn.Module | None) -> DiscriminatorNet:
    """Like `load_discriminator`, from contents already read."""
    try:
        net = rebuild(stored.design, model)
    except ValueError as error:
        hint = "" if model is not None else f"; give it: load_discriminator({str(path)!r}, model)"
        raise ValueError(f"{path}: {error}{hint}") from error
    net.design, net.pixel_range, net.card = stored.design, stored.pixel_range, stored.card
    net = net.float()
    try:
        net.load_state_dict(stored.weights)
    except RuntimeError as error:
        raise ValueError(f"{path} does not fit the network that it describes: {error}") from error
    return net.eval()
