"""Stand-ins for what a pickle asks for and we do not build: they hold data and do nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_DEPTH, _MODULES = 64, 100_000  # of a pickled model; modules may share parts, so their number can explode
# Functions that no training script saves. Safety does not depend on this list, since nothing is ever called: it tells
# an attack from a class that happens to be unknown.
_ATTACKS = re.compile(
    r"(os|posix|nt|subprocess|pty|runpy|ctypes|_ctypes|socket|importlib|shutil|webbrowser|marshal|pickle|_pickle|sys)"
    r"\.(?!environ$|_Environ$|PathLike$|stat_result$|path\.)|"
    r"(builtins|__builtin__)\.(eval|exec|execfile|compile|__import__|open|input|breakpoint|delattr|setattr|globals)$"
)


_SAFE = (
    "torch.save(model.state_dict(), 'weights.pt') or "
    "safetensors.torch.save_file(model.state_dict(), 'weights.safetensors')"
)


class RefusedError(ValueError):
    """A file that is refused.

    Args:
        reason: continues "<file> was refused: it …".
        remedy: code that saves the weights alone.
    """

    def __init__(self, reason: str, remedy: str = _SAFE) -> None:
        super().__init__(reason)
        self._remedy = remedy

    def of(self, path: object) -> ValueError:
        """The error for the user."""
        advice = f"Where you trust the file, save the weights alone: {self._remedy}"
        reason = str(self)
        return ValueError(f"{path} was refused: it {reason}{'' if reason.endswith('?') else '.'} {advice}")


@dataclass(frozen=True)
class Named:
    """A class or function by name; never looked up."""

    name: str  # "module.name"

    @property
    def attack(self) -> bool:
        """Whether only a file that means harm would ask for it."""
        return bool(_ATTACKS.match(self.name))


class Stub:
    """An object of an unknown class.

    Attributes:
        name: of the class, or of the function that would have made it.
        state: what would have been its attributes, if they were saved as a dict.
        items: of a dict of an unknown class.
    """

    __slots__ = ("items", "name", "state")

    def __init__(self, name: str) -> None:
        self.name = name
        self.state: dict[object, object] = {}
        self.items: dict[object, object] = {}

    def table(self) -> dict[object, object]:
        """The items of a dict of an unknown class, or the weights of a pickled module; {} if it is neither."""
        return self.items or dict(_weights(self))


class UnreadableTensor:
    """A tensor that is not stored as plain numbers; `reason` continues "weight 'a' …"."""

    def __init__(self, shape: tuple[int, ...], reason: str) -> None:
        self.shape, self.reason = shape, reason


def what_is(value: object) -> str:
    """What to call a value in a message."""
    return f"{value.name} object" if isinstance(value, Stub) else type(value).__name__


def _weights(model: Stub) -> Iterator[tuple[str, object]]:
    """Names and values of a pickled module's parameters and buffers, as in its state dict."""
    left = _MODULES
    waiting: list[tuple[str, Stub, int]] = [("", model, 0)]
    while waiting:
        prefix, module, depth = waiting.pop()
        left -= 1
        if left < 0 or depth > _DEPTH:
            raise RefusedError("is a pickled model whose modules contain each other without end")
        passing = module.state.get("_non_persistent_buffers_set")
        skipped = set(passing) if isinstance(passing, list) else set()
        for kind in ("_parameters", "_buffers"):
            for name, value in _entries(module, kind):
                if value is not None and name not in skipped and len(prefix) + len(name) < 2000:
                    yield prefix + name, value
        for name, child in reversed(_entries(module, "_modules")):
            if isinstance(child, Stub):
                waiting.append((f"{prefix}{name}.", child, depth + 1))


def _entries(module: Stub, kind: str) -> list[tuple[str, object]]:
    found = module.state.get(kind)
    return [(name, value) for name, value in found.items() if isinstance(name, str)] if isinstance(found, dict) else []
