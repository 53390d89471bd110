"""`--model`: a network of the package, or one that a module or file of the user makes."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from typing import Any

from torch import nn

from .. import demo as demos
from ..checkpoints import load_checkpoint
from ..objectives import Discriminator
from .values import numbers_of


def network_of(name: str, weights: Path | None, input_shape: str | None) -> tuple[nn.Module, dict[str, Any]]:
    """The model, and the settings known for it."""
    shipped, _, state = name.partition(":")
    network: nn.Module
    if shipped == "mnist":
        digits = demos.mnist(state or "final")
        network = digits.model
        settings = dict(digits.settings) | {"regularizers": [Discriminator(digits.discriminator, 0.0)]}
    elif shipped == "cifar":
        photographs = demos.cifar(state or "final")
        network = photographs.model
        settings = dict(photographs.settings) | {"regularizers": [Discriminator(photographs.discriminator, 0.0)]}
    else:
        network, settings = _import(name), {}
        if input_shape is None:
            raise ValueError("--input-shape is needed, e.g. --input-shape 3,224,224")
    if input_shape is not None:
        settings["input_shape"] = numbers_of("--input-shape", input_shape, int)
    return network if weights is None else load_checkpoint(network, weights), settings


def _import(name: str) -> nn.Module:
    where, _, attribute = name.partition(":")
    if not attribute:
        raise ValueError(f"--model {name}: give 'mnist', 'cifar', 'package.module:name' or 'file.py:name'")
    try:
        if where.endswith(".py"):
            spec = importlib.util.spec_from_file_location(Path(where).stem, where)
            assert spec is not None, "every .py file has one"
            assert spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            sys.modules[spec.name] = module
            spec.loader.exec_module(module)
        else:
            sys.path.insert(0, str(Path.cwd()))
            module = importlib.import_module(where)
        found = getattr(module, attribute)
        if not isinstance(found, nn.Module):
            found = found()
    except Exception as error:
        raise ValueError(f"--model {name}: {type(error).__name__}: {error}") from error
    if not isinstance(found, nn.Module):
        raise TypeError(
            f"--model {name}: expected an nn.Module or a function that makes one, got {type(found).__name__}"
        )
    return found
