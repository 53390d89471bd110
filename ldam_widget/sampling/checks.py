"""Validation of the sampler's arguments. Each check returns the value, or raises an error that says what would work.

Every function raises TypeError for a value of the wrong type and ValueError for a value out of range.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

from ..core.target import Kernel, Regularizer
from ..objectives import L2
from ..parametrizations import Natural
from .averages import Average
from .burn_in import BurnIn
from .ladder import Ladder


def pixel_range(pixel_range: Any) -> tuple[float, float] | None:
    if pixel_range is None:
        return None
    try:
        low, high = (float(end) for end in pixel_range)
    except (TypeError, ValueError):
        low, high = 1.0, 0.0
    if not (-float("inf") < low < high < float("inf")):
        raise ValueError(f"pixel_range must be (lo, hi) with lo < hi, both finite, or None; got {pixel_range!r}")
    return low, high


def count(name: str, value: Any) -> int:
    try:
        count = int(value.__index__())
    except (AttributeError, TypeError):
        raise TypeError(f"{name} must be an integer ≥ 1; got {value!r}") from None
    if isinstance(value, bool) or count < 1:
        raise ValueError(f"{name} must be an integer ≥ 1; got {value!r}")
    return count


def index(name: str, value: Any, count: int) -> int:
    try:
        number = int(value.__index__())
    except (AttributeError, TypeError):
        raise TypeError(f"{name} must be an integer from 0 to {count - 1}; got {value!r}") from None
    if isinstance(value, bool) or not 0 <= number < count:
        raise ValueError(f"{name} must be an integer from 0 to {count - 1}; got {value!r}")
    return number


def seed(seed: Any) -> int:
    try:
        number = int(seed.__index__())
    except (AttributeError, TypeError):
        raise TypeError(f"seed must be an integer ≥ 0; got {seed!r}") from None
    if number < 0:
        raise ValueError(f"seed must be an integer ≥ 0; got {number}")
    return number


def class_names(names: Any) -> tuple[str, ...] | None:
    if names is None:
        return None
    if isinstance(names, str) or not isinstance(names, Iterable):
        raise TypeError(f"class_names must be a list of names, one per unit of the layer, or None; got {names!r}")
    return tuple(str(name) for name in names)


def burn_in(burn_in: Any) -> BurnIn:
    if not isinstance(burn_in, BurnIn):
        raise TypeError(f"burn_in must be BurnIn(window, threshold, tolerance); got {burn_in!r}")
    return burn_in


def average(average: Any) -> Average:
    if isinstance(average, type) or not (hasattr(average, "start") and hasattr(average, "time")):
        raise TypeError(f"average must be EMA(decay) or Window(length); got {average!r}")
    return average  # type: ignore[no-any-return]  # identified by its methods


def kernel(kernel: Any) -> Kernel:
    if isinstance(kernel, type) or not (hasattr(kernel, "step") and hasattr(kernel, "init")):
        raise TypeError(f"kernel must be a kernel such as kernels.Algorithm1(), not {kernel!r}")
    return kernel  # type: ignore[no-any-return]  # identified by its methods


def normalizes(kernel: Kernel) -> bool:
    """Whether the kernel normalises gradients itself."""
    return getattr(kernel, "normalize", "none") != "none"


def scale(scale: Any, kernel: Kernel) -> Literal["none", "frozen"]:
    if scale not in ("none", "frozen"):
        raise ValueError(f"scale must be 'none' or 'frozen'; got {scale!r}")
    if scale == "frozen" and normalizes(kernel):
        raise ValueError(
            f"scale='frozen' cannot be combined with {kernel.name}(normalize={kernel.normalize!r}), which normalises "  # type: ignore[attr-defined]
            "every gradient itself; use normalize='none', or a calibrated kernel such as kernels.BAOAB()"
        )
    return scale  # type: ignore[no-any-return]  # one of two literals, checked above


def ladder(ladder: Ladder | None, kernel: Kernel, prior: Natural | None) -> None:
    if ladder is None:
        return
    if not kernel.calibrated:
        raise ValueError(
            f"ladder needs a kernel that samples at a stated temperature, such as kernels.BAOAB(); {kernel.name} does "
            "not"
        )
    if prior is None and ladder.factors[-1] == float("inf"):
        raise ValueError(
            "ladder: pixels have no law at an infinite temperature; make the last factor (top of Ladder.auto) finite, "
            "or use a natural prior"
        )


def pixels(kernel: Kernel, prior: Natural | None, pixel_range: tuple[float, float] | None) -> None:
    """Raises ValueError if the kernel moves pixels in a range, and there are none."""
    if not getattr(kernel, "needs_pixels", False):
        return
    if prior is not None:
        raise ValueError(
            f"{kernel.name} works on pixels, not in the coordinates of a natural prior: give prior=None, or switch to "
            "pixels first"
        )
    if pixel_range is None:
        raise ValueError(f"{kernel.name} clips pixels and counts in grey levels: give a pixel_range, such as (0, 1)")


def energies(kernel: Kernel, ladder: Ladder | None, regularizers: Iterable[Regularizer]) -> None:
    """Raises ValueError if an energy is needed that a term does not have."""
    term = next((term for term in regularizers if not getattr(term, "has_energy", True)), None)
    if term is not None and (kernel.needs_energy or ladder is not None):
        who = kernel.name if ladder is None else "a ladder"
        raise ValueError(
            f"{type(term).__name__} has a gradient and no energy, by which {who} accepts moves: use one that needs "
            "gradients alone, such as kernels.BAOAB(), and no ladder"
        )


def leaky(slope: Any) -> float:
    try:
        number = float(slope)
    except (TypeError, ValueError):
        raise TypeError(f"leaky must be a slope in [0, 1); got {slope!r}") from None
    if not 0 <= number < 1:
        raise ValueError(f"leaky must be a slope in [0, 1), 0 is off; got {number:g}")
    return number


def regularizers(regularizers: Any) -> tuple[Regularizer, ...]:
    try:
        terms = tuple(regularizers)
    except TypeError:
        raise TypeError(f"regularizers must be a list, e.g. [L2(0.1)]; got {regularizers!r}") from None
    for term in terms:
        if isinstance(term, type) or not (hasattr(term, "evaluate") and hasattr(term, "parameter")):
            raise TypeError(f"regularizers must hold terms such as L2(0.1); got {term!r}")
        numbers = getattr(term, "numbers", 0)
        if isinstance(numbers, bool) or not isinstance(numbers, int) or numbers < 0:
            raise ValueError(
                f"regularizers: numbers of {term.name!r} must be the count of random numbers it draws per chain and "
                f"step, an integer ≥ 0; got {numbers!r}"
            )
    names = [term.name for term in terms]
    if len(set(names)) < len(names):
        raise ValueError(f"regularizers must be of different kinds, one of each; got {', '.join(names)}")
    return terms if "l2" in names else (*terms, L2(0.0))
