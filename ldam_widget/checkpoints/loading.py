"""Load the weights of a file into a copy of the user's model."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping
from typing import Literal

import torch
from torch import nn

from ..core.notes import LDAMWarning
from ..network.view import choose_device, unwrap
from .copying import check_has_memory, own_model
from .fitting import CheckpointError, compare, complaint
from .matching import best_reading
from .reading import read
from .values import check_values


def load_checkpoint(
    model_or_factory: nn.Module | Callable[[], nn.Module],
    path: str | os.PathLike[str],
    *,
    device: torch.device | str | None = None,
    strict: bool = True,
    prefer: Literal["raw", "ema"] = "raw",
) -> nn.Module:
    """A model with the weights of a file, in eval mode.

    The weights may be at the top level of the file or under one of the usual keys, up to three levels deep:
    ``state_dict``, ``model_state_dict``, ``model_state``, ``model``, ``net``, ``network``, ``module``, ``weights``,
    ``params``, ``generator``, then those of averaged weights: ``ema``, ``ema_state_dict``, ``model_ema``,
    ``ema_model``, ``state_dict_ema``, ``model_state_dict_ema``, ``params_ema``, ``swa_state_dict``, ``swa_model``,
    ``averaged_model``, ``shadow``. Name parts inserted by wrappers (``module.``, ``_orig_mod.``, …) are ignored in the
    file and in the model, and any prefix before the model's names is stripped (``model.``, ``net.``, …). Among all
    such readings, the one with the most weights of the right name and shape is used; ties go to the earlier key and
    the shorter prefix.

    A weight absent from the file does not count as missing if it shares memory with a loaded one (tied weights, which
    safetensors writes once) or is a `num_batches_tracked` (absent from old files, unused in eval mode). The
    `n_averaged` of `torch.optim.swa_utils.AveragedModel` is dropped. Weights are converted to the model's dtype.

    Args:
        model_or_factory: a model, which is copied and not changed; or a callable without arguments that returns one,
            for instance its class. Its result is loaded and returned; the global CPU generator keeps its state.
        path: a `.safetensors` file, or one written by `torch.save` or `pickle`. Nothing in it is run: objects of other
            classes than tensors, numpy's and plain data are passed over, and whole models are read for their weights.
        device: of the result; None: the model's own.
        strict: raise an error unless all names and shapes match. Otherwise load what matches, with an `LDAMWarning`
            listing the rest.
        prefer: for a file with both, the "raw" weights or their training average, "ema". The other kind is used if the
            preferred one is absent (for "ema" with an `LDAMWarning`), or has less than half as many matching weights.

    Raises:
        FileNotFoundError, IsADirectoryError: there is no such file.
        CheckpointError: the weights do not match this model; or, regardless of `strict`, not a single one does.
        ValueError: the file asks for code to be run, is damaged, or holds no weights; a weight is not finite, or is
            quantised, sparse or without data; the model has no memory for its weights; an invalid option.
        TypeError: `model_or_factory` is not a model and does not return one, or cannot be copied; `path` is not a
            path.
    """
    if prefer not in ("raw", "ema"):
        raise ValueError(f"prefer must be 'raw' or 'ema'; got {prefer!r}")
    content = read(path)
    model = own_model(model_or_factory)
    module = unwrap(model)
    check_has_memory(module)
    reading = best_reading(content, module.state_dict(), prefer, path)
    if prefer == "ema" and not reading.averaged:
        warnings.warn(f"{path} has no averaged weights; its raw ones were loaded", LDAMWarning, stacklevel=2)
    fit = compare(reading, module.state_dict())
    if fit.missing or fit.unexpected or fit.mismatched:
        if strict or not fit.values:
            raise CheckpointError(complaint(path, module, reading, fit), fit.missing, fit.unexpected, fit.mismatched)
        warnings.warn(complaint(path, module, reading, fit), LDAMWarning, stacklevel=2)
    check_values(path, fit.values, module.state_dict())
    _put(path, fit.values, module)
    return (model if device is None else model.to(choose_device(model, device))).eval()


def _put(path: str | os.PathLike[str], values: Mapping[str, object], module: nn.Module) -> None:
    # Filled into the model's own state dict: it carries the layers' versions, so that no layer mistakes the weights
    # for those of an older version and converts them.
    state = module.state_dict()
    for name in state.keys() - values.keys():
        del state[name]
    state.update(values)
    try:
        module.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise ValueError(
            f"{path} fits {type(module).__name__} by names and shapes, but could not be loaded: {error}"
        ) from error
