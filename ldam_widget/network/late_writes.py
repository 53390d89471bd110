"""Passes that begin to write into weights or buffers later than those that `first_pass` has seen."""

from __future__ import annotations

import weakref
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from ..core.notes import Notes
from .first_pass import Restore
from .view import unwrap, weights_of

_KEPT = 2**26  # bytes: weights are copied up to this in all; buffers always


class LateWrites:
    """Looks whether passes have written into what a view shares with the user's model, and undoes it.

    The tensors of a view count what its own passes write, apart from the user's. What is written through `.data` is
    not counted, and not seen.

    Args:
        view: a private view, after `first_pass`.
        model: the user's.
    """

    def __init__(self, view: nn.Module, model: nn.Module) -> None:
        names = [name for name, _ in _named(view)]
        pairs = zip(names, weights_of(view), weights_of(unwrap(model)), strict=False)
        shared = {n: theirs for n, mine, theirs in pairs if mine.data_ptr() == theirs.data_ptr() and mine.numel()}
        self._theirs = {name: weakref.ref(tensor) for name, tensor in shared.items() if not tensor.is_inference()}
        self._buffers = {name for name, _ in view.named_buffers()}
        small = sum(tensor.numel() * tensor.element_size() for tensor in shared.values()) <= _KEPT
        self._copies = {n: shared[n].detach().clone() for n in self._theirs if small or n in self._buffers}
        self._versions = {name: shared[name]._version for name in self._theirs}
        self._watched: weakref.WeakKeyDictionary[nn.Module, dict[str, Tensor]] = weakref.WeakKeyDictionary()
        self._counts: weakref.WeakKeyDictionary[nn.Module, list[int]] = weakref.WeakKeyDictionary()
        self._watch(view, [])

    @torch.no_grad()
    def look(self, network: nn.Module, notes: Notes) -> bool:
        """Whether the network that has run, the view or a copy of it, has written; then it does so no more.

        It gets memory of its own for what it writes, and every pass starts from what the user's model has.
        """
        if network not in self._watched:
            self._watch(network, [0])  # as aliases begin to count
        watched, before = self._watched[network], self._counts[network]
        now = _counts(watched)
        if now == before:
            self._follow()
            return False
        written = [name for name, new, old in zip(watched, now, before, strict=True) if new != old]
        undone = [self._undo(name, watched[name]) for name in written]
        sources = [(watched[name], theirs) for name in written if (theirs := self._theirs[name]()) is not None]
        network.register_forward_pre_hook(Restore([], sources))
        self._watch(network, [])
        done = "was undone" if all(undone) else "could not be undone, since you have changed it, too"
        notes.tell(
            f"the forward pass began to write into {', '.join(written)} of your model at a later step, which {done}; "
            "from now on it writes into a copy, and starts every pass from what your model has"
        )
        return True

    def _watch(self, network: nn.Module, counts: list[int]) -> None:
        pointers = {name: theirs.data_ptr() for name, ref in self._theirs.items() if (theirs := ref()) is not None}
        watched = {name: tensor for name, tensor in _named(network) if tensor.data_ptr() == pointers.get(name)}
        self._watched[network] = watched
        self._counts[network] = len(watched) * counts or _counts(watched)

    def _undo(self, name: str, mine: Tensor) -> bool:
        """Put back what the user's model had, if it still can be told; the network gets memory of its own."""
        theirs, copy = self._theirs[name](), self._copies.get(name)
        unchanged = theirs is not None and theirs._version == self._versions[name]
        mine.data = mine.data.clone()
        if theirs is None or copy is None or not unchanged:
            return False
        theirs.data.copy_(copy)
        return True

    def _follow(self) -> None:
        """Copy again what the user has changed; only buffers, since training changes weights all the time."""
        for name, ref in self._theirs.items():
            theirs = ref()
            if theirs is None or theirs._version == self._versions[name]:
                continue
            self._versions[name] = theirs._version
            if name in self._buffers:
                self._copies[name] = theirs.detach().clone()
            else:
                self._copies.pop(name, None)


def _named(network: nn.Module) -> Iterable[tuple[str, Tensor]]:
    return [*network.named_parameters(), *network.named_buffers()]


def _counts(tensors: dict[str, Tensor]) -> list[int]:
    return [tensor._version for tensor in tensors.values()]
