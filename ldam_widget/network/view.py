"""A private view of the user's model: separate hooks, flags and modes, but shared weights.

The sampler runs alongside the user's code, often in another thread, so it never touches the user's modules: it works
on a copy of the module tree whose parameters and buffers are frozen aliases of the user's tensors. Weights are not
duplicated on the same device, and in-place changes by the user take effect at once.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from ..core.notes import Notes


def unwrap(model: nn.Module) -> nn.Module:
    """The plain module inside `DataParallel` and `torch.compile` wrappers, with the layer names the user knows."""
    parallel = isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel))
    inside = model.module if parallel else model._modules.get("_orig_mod")
    return unwrap(inside) if isinstance(inside, nn.Module) else model


def private_view(model: nn.Module, device: torch.device | None, notes: Notes) -> nn.Module:
    """Copy the module tree in eval mode around frozen aliases of the weights.

    Args:
        model: any `nn.Module`; not changed in any way.
        device: where to sample; weights on another device are copied. None: the device of the weights.
        notes: receives a note if the model was in training mode and that makes a difference.

    Raises:
        TypeError: `model` is not a module, or cannot be copied.
        ValueError: a weight is not finite, or has no data.
    """
    _check_type(model)
    model = unwrap(model)
    check_weights(model)
    memo: dict[int, object] = {}
    for module in model.modules():
        for parameter in module._parameters.values():
            if parameter is not None:
                # .data, not .detach(): with a shared version counter, an optimiser step by the user between our
                # forward and backward pass would raise an error in our thread
                memo[id(parameter)] = nn.Parameter(parameter.data, requires_grad=False)
        for buffer in module._buffers.values():
            if buffer is not None:
                memo[id(buffer)] = buffer.data
        for value in vars(module).values():
            # e.g. the pruned weight that torch.nn.utils.prune stores as a plain attribute; deepcopy rejects those
            if isinstance(value, Tensor):
                memo[id(value)] = value.detach()
    try:
        for module in reversed(list(model.modules())):
            if unwrap(module) is not module:  # a wrapper around part of the model: the copy omits the wrapper
                memo[id(module)] = copy.deepcopy(unwrap(module), memo)
        view = copy.deepcopy(model, memo)
    except Exception as error:
        raise TypeError(
            f"model cannot be copied with copy.deepcopy, which sampling beside your code needs: {error!r}. "
            "Keep locks, open files and generators out of the module's attributes."
        ) from error
    sensitive = [name for name, module in model.named_modules() if module.training and _mode_matters(module)]
    if sensitive:
        notes.tell(
            f"model was in training mode ({sensitive[0] or type(model).__name__}"
            f"{f' and {len(sensitive) - 1} more' if len(sensitive) > 1 else ''}); it is sampled in eval mode "
            "(running batch-norm statistics, no dropout). Your model itself is left as it was."
        )
    view.eval()
    return view.to(device) if device is not None else view


def detached_copy(model: nn.Module, notes: Notes) -> nn.Module:
    """A copy of the module tree with its own weights, in eval mode, independent of later changes to `model`.

    Forward hooks are dropped, since they might feed the copy's activations into the user's training; forward
    pre-hooks (pruning, weight norm) are kept. Raises the errors of `private_view`.
    """
    view = private_view(model, None, notes)
    if any(module._forward_hooks for module in view.modules()):
        notes.tell("the model's forward hooks are not run in the copy that is watched")
        for module in view.modules():
            module._forward_hooks.clear()
    for tensor in weights_of(view):
        tensor.data = tensor.data.clone()
    return view


def weights_of(model: nn.Module) -> list[Tensor]:
    """Parameters, then buffers, each once, in an order preserved by copies and wrappers of the model."""
    return [*model.parameters(), *model.buffers()]


def choose_device(model: nn.Module, device: torch.device | str | None) -> torch.device:
    """The requested device; else CUDA if available; else the device of the model's weights.

    Raises:
        TypeError: `model` is not a module.
        ValueError: the requested device is not available.
    """
    _check_type(model)
    if device is not None:
        try:
            chosen = torch.device(device)
            torch.empty(0, device=chosen)
            if chosen.type == "meta":
                raise RuntimeError("it holds no data")
        except Exception as error:
            raise ValueError(f"device={str(device)!r} cannot be used here: {error}. Try device='cpu'.") from error
        return chosen
    return torch.device("cuda") if torch.cuda.is_available() else device_of(model)


def device_of(model: nn.Module) -> torch.device:
    """Device of the weights; the CPU if there are none."""
    first = next(model.parameters(), None)
    return first.device if first is not None else torch.device("cpu")


def dtype_of(model: nn.Module) -> torch.dtype:
    """The floating-point type the model computes in: that of its first floating-point weight."""
    return next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)


def _check_type(model: object) -> None:
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be an instance of torch.nn.Module; got {model!r:.80}")


def _mode_matters(module: nn.Module) -> bool:
    return isinstance(module, (nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd)) or (
        isinstance(module, nn.modules.instancenorm._InstanceNorm) and module.track_running_stats
    )


def check_weights(model: nn.Module) -> None:
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if tensor.is_meta:
            raise ValueError(f"model weight {name!r} is on the meta device and has no data; load the weights first")
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            count = int((~torch.isfinite(tensor)).sum())
            raise ValueError(
                f"model weight {name!r} holds {count} NaN or infinite value{'s' if count > 1 else ''} of "
                f"{tensor.numel()}; no image can be sampled. Did training diverge? Load an earlier checkpoint."
            )
