"""Private random numbers where torch would use its global generators.

Those belong to the user, who may be drawing from them in another thread: reseeding them temporarily, as
`torch.random.fork_rng` does, would corrupt the user's numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode


@contextmanager
def drawing_from(generator: torch.Generator) -> Iterator[None]:
    """Inside the context, everything this thread draws without naming a generator comes from `generator`.

    This covers initial weights, dropout, `torch.rand` and the like; on the CPU the numbers equal those of the global
    generator with the same seed. Other devices draw from generators seeded by this one. numpy and Python's `random`
    are not affected.

    Args:
        generator: a CPU generator.

    Raises:
        RuntimeError: a random operation takes no generator, such as cuDNN's recurrent layers with dropout.
    """
    with _OpenAttention(), _DrawFrom(generator):
        yield


@contextmanager
def outside() -> Iterator[None]:
    """Inside the context, operations are as fast as outside of `drawing_from`; random ones are not to be used."""
    with torch._C.DisableTorchFunction(), torch._C._DisableTorchDispatch():
        yield


class _DrawFrom(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._generator = generator
        self._elsewhere: dict[torch.device, torch.Generator] = {}

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # answering True would import the compiler: a second, and 80 MB

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if torch.Tag.nondeterministic_seeded not in func.tags:
            return func(*args, **kwargs)
        names = [argument.name for argument in func._schema.arguments]
        given = dict(zip(names, args, strict=False)) | kwargs
        shares = [given.get(name, 0) for name in names if name in ("dropout_p", "dropout")]
        if given.get("generator") is not None or (shares and not any(shares)):
            return func(*args, **kwargs)  # draws from an explicit generator, or not at all
        if func is torch.ops.aten.native_dropout.default:
            return self._dropout(*args)
        like = _LIKE.get(func._schema.name)
        if like is not None:
            made = torch.empty_like(args[0], **kwargs)
            return like(made, *args[1:], generator=self._of(made.device))
        taking = func if "generator" in names else _with_generator(func)
        if taking is not None:
            return taking(*args, **kwargs, generator=self._of(_device_of(args, kwargs)))
        with self:  # in inference mode, composite operations arrive undecomposed
            parts = func.decompose(*args, **kwargs)
        if parts is NotImplemented:
            raise RuntimeError(
                f"{func} takes no generator: its random numbers would come from the user's global generator"
            )
        return parts

    def _dropout(self, x: Tensor, p: float, train: bool | None) -> tuple[Tensor, Tensor]:
        """Like CUDA's own dropout, which takes no generator."""
        kept = torch.ones_like(x, dtype=torch.bool)
        if train is False:
            return x.clone(), kept
        kept.bernoulli_(1 - p, generator=self._of(x.device))
        return x * kept * (1 / (1 - p) if p < 1 else 0.0), kept

    def _of(self, device: torch.device) -> torch.Generator:
        if device.type == "cpu":
            return self._generator
        if device not in self._elsewhere:
            seed = int(torch.randint(2**62, (), generator=self._generator, device="cpu"))
            self._elsewhere[device] = torch.Generator(device).manual_seed(seed)
        return self._elsewhere[device]


class _OpenAttention(TorchFunctionMode):
    """Attention as separate operations: fused kernels take no generator and have no second derivative."""

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention:
            return torch.ops.aten._scaled_dot_product_attention_math(*args, **kwargs)[0]
        if func is F.multi_head_attention_forward and kwargs.get("need_weights") is False:
            return func(*args, **(kwargs | {"need_weights": True}))[0], None
        return func(*args, **kwargs)


def _random(made: Tensor, *ends: Any, generator: torch.Generator) -> Tensor:
    low, high = (0, *ends)[-2:]
    return made.random_(int(low), int(high), generator=generator)


_LIKE: dict[str, Callable[..., Tensor]] = {
    "aten::rand_like": Tensor.uniform_,
    "aten::randn_like": Tensor.normal_,
    "aten::randint_like": _random,
}


def _with_generator(func: Any) -> Any:
    """The overload of an operation that also takes a generator; None if there is none."""
    wanted = [(argument.name, str(argument.type)) for argument in func._schema.arguments]
    for name in func.overloadpacket.overloads():
        other = getattr(func.overloadpacket, name)
        theirs = [(argument.name, str(argument.type)) for argument in other._schema.arguments]
        if [argument for argument in theirs if argument[0] != "generator"] == wanted and theirs != wanted:
            return other
    return None


def _device_of(args: tuple[Any, ...], kwargs: dict[str, Any]) -> torch.device:
    first = next((value for value in args if isinstance(value, Tensor)), None)
    return first.device if first is not None else torch.device(kwargs.get("device") or "cpu")
