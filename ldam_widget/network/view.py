"""A private view of the user's model: separate hooks, flags and modes, but shared weights.

The sampler runs alongside the user's code, often in another thread, so it never touches the user's modules: it works
on a copy of the module tree whose parameters and buffers are frozen aliases of the user's tensors. Weights are not
duplicated on the same device, and in-place changes by the user take effect at once.
"""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor, nn

from ..core.notes import Notes
from .deep_copy import deep_copy, reachable
from .hooks import isolate_hooks
from .surroundings import inherit


def unwrap(model: nn.Module) -> nn.Module:
    """The plain module inside `DataParallel` and `torch.compile` wrappers, with the layer names the user knows."""
    parallel = isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel))
    inside = model.module if parallel else dict(model.named_children()).get("_orig_mod")
    return unwrap(inside) if isinstance(inside, nn.Module) else model


@torch.inference_mode(False)  # copies made in it could never have a gradient
def private_view(model: nn.Module, device: torch.device | None, notes: Notes, *, shared: bool = True) -> nn.Module:
    """Copy the module tree in eval mode around frozen aliases of the weights.

    Args:
        model: any `nn.Module`; not changed in any way.
        device: where to sample; weights on another device are copied. None: the device of the weights.
        notes: receives a note if the model was in training mode and that makes a difference.
        shared: whether weights are shared with the model; then see `first_pass`, as a forward pass may write into them.

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
    try:
        for module in reversed(list(model.modules())):
            if unwrap(module) is not module:  # a wrapper around part of the model: the copy omits the wrapper
                memo[id(module)] = deep_copy(unwrap(module), memo)
        view = deep_copy(model, memo)
    except Exception as error:
        raise TypeError(
            f"model cannot be copied with copy.deepcopy, which sampling beside your code needs: {error!r}. "
            "Keep what cannot be copied out of the module's attributes."
        ) from error
    if not shared:
        isolate_hooks(view)
        for thing in reachable(view):
            if isinstance(thing, Tensor):
                thing.data = thing.data.clone()
    sensitive = [name for name, module in model.named_modules() if module.training and _mode_matters(module)]
    if sensitive:
        notes.tell(
            f"model was in training mode ({sensitive[0] or type(model).__name__}"
            f"{f' and {len(sensitive) - 1} more' if len(sensitive) > 1 else ''}); it is sampled in eval mode "
            "(running batch-norm statistics, no dropout). Your model itself is left as it was."
        )
    view.eval()
    inherit(view, model)
    if device is not None:
        view = view.to(device)
    allow_backward(view)
    return view


def allow_backward(view: nn.Module, device: torch.device | None = None) -> None:
    """Let cuDNN's recurrent layers have a gradient, which they refuse in eval mode: in training mode, without dropout,
    they compute the same.

    Args:
        view: a private view.
        device: of its weights; None: as they are.
    """
    if (device_of(view) if device is None else device).type != "cuda":
        return
    for module in view.modules():
        if isinstance(module, nn.RNNBase):
            module.dropout = 0.0
            module.training = True


def detached_copy(model: nn.Module, notes: Notes) -> nn.Module:
    """A copy of the module tree with its own weights, in eval mode, independent of later changes to `model`.

    Forward hooks are dropped, since they might feed the copy's activations into the user's training; forward
    pre-hooks (pruning, weight norm) are kept. Raises the errors of `private_view`.
    """
    view = private_view(model, None, notes, shared=False)
    if any(module._forward_hooks for module in view.modules()):
        notes.tell("the model's forward hooks are not run in the copy that is watched")
        for module in view.modules():
            module._forward_hooks.clear()
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
    """The floating-point type the model computes in: that of its first floating-point weight; not float8, in which
    weights are stored alone."""
    kinds = (p.dtype for p in model.parameters() if p.is_floating_point() and p.element_size() > 1)
    return next(kinds, torch.float32)


def _check_type(model: object) -> None:
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be an instance of torch.nn.Module; got {model!r:.80}")


def _mode_matters(module: nn.Module) -> bool:
    return isinstance(module, (nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd)) or (
        isinstance(module, nn.modules.instancenorm._InstanceNorm) and module.track_running_stats
    )


def check_weights(model: nn.Module) -> None:
    """Raises ValueError if there is a weight that nothing can be sampled with."""
    _refuse_kinds(model)
    # other buffers may well be infinite, such as masks and best losses
    norms = {id(b) for module in model.modules() if _mode_matters(module) for b in module.buffers(recurse=False)}
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if tensor.is_inference():
            raise ValueError(
                f"model weight {name!r} was made under torch.inference_mode, so that nothing it computes has a "
                "gradient; make or load the model outside of it"
            )
        if tensor.is_meta:
            raise ValueError(f"model weight {name!r} is on the meta device and has no data; load the weights first")
        checked = isinstance(tensor, nn.Parameter) or id(tensor) in norms
        if not (checked and tensor.is_floating_point()):
            continue
        finite = torch.isfinite(tensor if tensor.element_size() > 1 else tensor.float())  # not implemented for float8
        if not bool(finite.all()):
            count = int((~finite).sum())
            raise ValueError(
                f"model weight {name!r} holds {count} NaN or infinite value{'s' if count > 1 else ''} of "
                f"{tensor.numel()}; no image can be sampled. Did training diverge? Load an earlier checkpoint."
            )


def _refuse_kinds(model: nn.Module) -> None:
    for name, module in model.named_modules():
        kind, home = type(module).__name__, type(module).__module__
        if "nn.quantized" in home or "nn.intrinsic.quantized" in home:
            raise ValueError(
                f"model is quantised ({name or kind!r} is a {home}.{kind}): its layers have no gradient. Give the "
                "floating-point model that it was made from."
            )
        if kind == "FullyShardedDataParallel":
            raise ValueError(
                "model is sharded (FullyShardedDataParallel), so that no process holds all of its weights. Load a "
                "full state dict into a plain module and give that."
            )
    for name, parameter in model.named_parameters():
        if isinstance(parameter, nn.parameter.UninitializedParameter):
            raise ValueError(f"model weight {name!r} has no shape yet; pass a batch through the lazy model first")
        if type(parameter.data).__name__ == "DTensor":
            raise ValueError(
                f"model weight {name!r} is sharded (DTensor), so that no process holds all of it. Load a full state "
                "dict into a plain module and give that."
            )


def hash_of(view: nn.Module) -> str:
    """Hash of a model's weights and buffers, 32 hexadecimal digits: equal for equal names, types, shapes and bytes."""
    digest = hashlib.sha256()
    for name, tensor in view.state_dict().items():
        if isinstance(tensor, Tensor):
            plain = tensor.detach().cpu().contiguous().reshape(-1)
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(plain.view(torch.uint8).numpy().tobytes() if plain.numel() else b"")
    return digest.hexdigest()[:32]
