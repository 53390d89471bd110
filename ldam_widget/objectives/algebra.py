"""Expressions of neurons: f = f_3 + 0.5 f_5 − f_7, written as text or made from objects.

Text: ``"3 + 0.5*5 - 7"``, ``"-5"``, ``"conv2:5@3,4 + fc3:1"``, ``"cat - 'hot dog'"``, ``"(3 + 5)/2"``, and
``"3 -> 5"``, which is `interpolate`. A whole number is a neuron; a factor has a decimal point, or stands beside
something that cannot be a factor (``"2*cat"``). See `reading.read` for the rules, and `columns.Columns` for how an
expression is matched with a network.
"""

from __future__ import annotations

import hashlib
import math
import numbers
import operator
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

Place = Literal["center", "whole"] | tuple[int, ...]


@dataclass(frozen=True)
class Vector:
    """A tensor that is compared by its contents."""

    digest: str
    values: Tensor = field(compare=False, repr=False)

    @classmethod
    def of(cls, tensor: Tensor) -> Vector:
        """A private copy. Raises ValueError if it is zero, or not finite."""
        values = tensor.detach().to("cpu", torch.float32, copy=True)
        norm = float(values.norm())
        if not 0 < norm < math.inf:
            raise ValueError(f"a direction must be finite and not zero; its norm is {norm}")
        contents = values.contiguous().numpy().tobytes() + repr(tuple(values.shape)).encode()
        return cls(hashlib.sha256(contents).hexdigest()[:8], values)


@dataclass(frozen=True)
class Unit:
    """A neuron, as written: text, a number, (channel, *position), or a direction.

    Attributes:
        what: text may be an expression itself; which it is, is known with the network's class names.
        layer: None is the sampler's own.
    """

    what: str | int | tuple[int, ...] | Vector
    layer: str | None = None

    def __str__(self) -> str:
        match self.what:
            case Vector():
                text = f"direction {self.what.digest}"
            case tuple():
                text = f"{self.what[0]}@{','.join(map(str, self.what[1:]))}"
            case _:
                text = str(self.what)
        return text if self.layer is None else f"{self.layer}:{text}"


@dataclass(frozen=True)
class Cosine:
    """The cosine between a layer's activation and a vector; see `cosine`."""

    vector: Vector
    of_image: bool
    layer: str | None
    at: Place | None

    @property
    def where(self) -> Place:
        """What is compared."""
        if self.at is not None:
            return self.at
        return "whole" if self.of_image or self.vector.values.ndim > 1 else "center"

    @property
    def key(self) -> str:
        """Says all but the layer."""
        where = self.where if isinstance(self.where, str) else ",".join(map(str, self.where))
        return f"cosine {'image ' if self.of_image else ''}{self.vector.digest}@{where}"

    def __str__(self) -> str:
        return f"cosine({'' if self.layer is None else f'{self.layer}, '}{self.vector.digest[:4]})"


Atom = Unit | Cosine


class Weighted(NamedTuple):
    """An atom and its factor, which moves from `start` to `end` as `interpolation` goes from 0 to 1."""

    start: float
    end: float
    atom: Atom


@dataclass(frozen=True, repr=False)
class Expression:
    """A sum of neurons with factors, as given to ``neurons=[…]``; made by `neuron`, `cosine` and `interpolate`.

    Supports ``a + b``, ``a - b``, ``-a``, and ``*`` and ``/`` by a number. Immutable and hashable.
    """

    terms: tuple[Weighted, ...]

    @property
    def label(self) -> str:
        """As text. Names of classes and merged terms need a network; see `Sampler.neurons`."""
        return text_of([(term.start, term.end, _in_brackets(str(term.atom))) for term in self.terms], " → ", "·")

    def __str__(self) -> str:
        return self.label

    def __repr__(self) -> str:
        text = text_of([(term.start, term.end, _in_brackets(str(term.atom))) for term in self.terms])
        return f"neuron({text!r})"

    def __add__(self, other: Any) -> Expression:
        return Expression((*self.terms, *_summand(other).terms))

    def __radd__(self, other: Any) -> Expression:
        if isinstance(other, int) and other == 0:  # sum([…]) starts from 0
            return self
        return _summand(other) + self

    def __sub__(self, other: Any) -> Expression:
        return self + -_summand(other)

    def __rsub__(self, other: Any) -> Expression:
        return _summand(other) - self

    def __neg__(self) -> Expression:
        return self.scaled(-1.0)

    def __pos__(self) -> Expression:
        return self

    def __mul__(self, factor: Any) -> Expression:
        if isinstance(factor, Expression):
            raise TypeError(f"{self.label} times {factor.label}: neurons can be added and multiplied by numbers only")
        return self.scaled(_number(factor, "multiplied by a number"))

    __rmul__ = __mul__

    def __truediv__(self, divisor: Any) -> Expression:
        if isinstance(divisor, Expression):
            raise TypeError(f"{self.label} over {divisor.label}: a neuron can be divided by a number only")
        number = _number(divisor, "divided by a number")
        if number == 0:
            raise ValueError(f"{self.label} is divided by zero; divide by any other number")
        return self.scaled(1 / number)

    def scaled(self, factor: float) -> Expression:
        """Times a number. Raises ValueError for one that is zero or not finite."""
        if not math.isfinite(factor) or factor == 0:
            raise ValueError(f"the factor of {self.label} must be finite and not zero; got {factor}")
        return Expression(tuple(term._replace(start=factor * term.start, end=factor * term.end) for term in self.terms))

    def mapped(self, change: Callable[[Atom], Atom]) -> Expression:
        """With other atoms."""
        return Expression(tuple(term._replace(atom=change(term.atom)) for term in self.terms))

    @property
    def interpolates(self) -> bool:
        return any(term.start != term.end for term in self.terms)

    @property
    def plain(self) -> Unit | None:
        """The neuron, if it is just one."""
        if len(self.terms) == 1 and self.terms[0][:2] == (1.0, 1.0) and isinstance(self.terms[0].atom, Unit):
            return self.terms[0].atom
        return None


def neuron(what: Any, layer: str | None = None) -> Expression:
    """A neuron to calculate with: ``ldam.neuron("fc3:3") + 0.5 * ldam.neuron("fc3:5")``.

    Args:
        what: a number, (channel, *position), text as in ``neurons=[…]`` ("5@3,4", "fc3:5", a class name, an
            expression), or a direction tensor.
        layer: dotted name; None is the layer in the text, or else the sampler's own.

    Raises:
        TypeError: anything else.
        ValueError: an empty text, a negative number, or a direction that is zero or not finite.
    """
    if isinstance(what, Expression):
        if layer is not None:
            raise TypeError(f"{what.label} already says what it reads; give layer= to the neurons in it")
        return what
    if layer is not None and not isinstance(layer, str):
        raise TypeError(f"layer must be the dotted name of a module, or None; got {layer!r}")
    if isinstance(what, str):
        if not what.strip():
            raise ValueError("a neuron is a number, a class name or an expression; got an empty text")
        return _of(Unit(what, layer))
    if isinstance(what, Tensor) and what.ndim > 0:
        return _of(Unit(Vector.of(what), layer))
    try:
        given = tuple(operator.index(n) for n in what) if isinstance(what, (tuple, list)) else operator.index(what)
    except TypeError:
        raise TypeError(
            f"a neuron is a number, (channel, y, x), a text such as '5' or '3 - 5', or a direction tensor; got {what!r}"
        ) from None
    if isinstance(what, bool) or given == () or min(given if isinstance(given, tuple) else (given,)) < 0:
        raise ValueError(f"a neuron has a number ≥ 0; got {what!r}. What it dislikes is -ldam.neuron(5), or '-5'")
    return _of(Unit(given, layer))


def cosine(
    direction: Tensor | None = None, *, image: Tensor | None = None, layer: str | None = None, at: Place | None = None
) -> Expression:
    """The cosine, −1…1, between a layer's activation and a direction, or the activation of another image.

    Unlike a direction in ``neurons=[…]``, it does not grow with the length of the activation. (The direction objective
    "cosine similarity" of lucid and lucent, with power 0.)

    Args:
        direction: (units,), compared with the units at one place; or the layer's whole output for one image, as
            `ldam.activations` returns it.
        image: (*input_shape), in the pixel range: the direction is its activation, with the weights at the time.
        layer: dotted name; None is the sampler's own.
        at: "center", "whole", or a position such as (y, x): what is compared. None: "center" for a direction of shape
            (units,), else "whole".

    Raises:
        TypeError, ValueError: not exactly one of `direction` and `image`, or one that is no tensor, zero or infinite.
    """
    given = image if direction is None else direction
    if (direction is None) == (image is None):
        raise ValueError("cosine needs either a direction or image=")
    if not isinstance(given, Tensor) or given.ndim == 0:
        raise TypeError(f"{'image' if direction is None else 'direction'} must be a tensor; got {given!r:.80}")
    if isinstance(at, (tuple, list)):
        at = tuple(operator.index(p) for p in at)
    elif at not in (None, "center", "whole"):
        raise ValueError(f"at must be 'center', 'whole', a position such as (3, 4), or None; got {at!r}")
    return _of(Cosine(Vector.of(given), direction is None, layer, at))


def interpolate(a: Any, b: Any) -> Expression:
    """(1 − t)·a + t·b, where t is the live parameter `interpolation`, 0…1: ``ldam.interpolate("3", "5")``.

    All such neurons of a sampler share one t. As text: ``"3 -> 5"``.

    Args:
        a, b: neurons, as for `neuron`, or expressions without an interpolation of their own.

    Raises:
        ValueError: one of them is interpolated already.
    """
    start, end = neuron(a), neuron(b)
    if start.interpolates or end.interpolates:
        raise ValueError(f"{start.label} and {end.label}: what is interpolated already has no second interpolation")
    return Expression(
        (*(term._replace(end=0.0) for term in start.terms), *(term._replace(start=0.0) for term in end.terms))
    )


def opposites(*neurons: Any) -> list[Expression]:
    """Every neuron and its opposite side by side, for ``neurons=``: what it likes, and what it dislikes.

    ``ldam.opposites(5)`` is "5" and "-5"; ``ldam.opposites("3 - 5")`` shows both ways to tell 3 from 5.
    """
    return [each for one in neurons for each in (neuron(one), -neuron(one))]


# ---- text ------------------------------------------------------------------------------------------------------------


def text_of(terms: Iterable[tuple[float, float, str]], arrow: str = " -> ", times: str = "*") -> str:
    """Terms (factor at the start, at the end, name) as text; what interpolates is written with an arrow."""
    listed = list(terms)
    start = _sum_of([(factor, name) for factor, _, name in listed], times)
    end = _sum_of([(factor, name) for _, factor, name in listed], times)
    return start if start == end else start + arrow + end


def _sum_of(terms: list[tuple[float, str]], times: str) -> str:
    text = ""
    for factor, name in terms:
        if factor == 0:
            continue
        number = f"{abs(factor):.12g}"
        # "2*3" could be a product of two neurons
        number += ".0" if times == "*" and number.isdigit() and name.isdigit() else ""
        joint = " - " if factor < 0 else " + "
        text += (joint if text else joint.strip(" +")) + ("" if abs(factor) == 1 else number + times) + name
    return text or "0"


def _in_brackets(text: str) -> str:
    return f"({text})" if any(f" {sign} " in text for sign in "+-") or text.startswith("-") or "->" in text else text


def _of(atom: Atom) -> Expression:
    return Expression((Weighted(1.0, 1.0, atom),))


def _summand(other: Any) -> Expression:
    if isinstance(other, Expression):
        return other
    raise TypeError(f"only neurons can be added to a neuron; got {other!r:.80}. Write ldam.neuron({other!r:.80})")


def _number(factor: Any, use: str) -> float:
    if isinstance(factor, Tensor) and factor.ndim == 0:
        factor = factor.item()
    if isinstance(factor, bool) or not isinstance(factor, numbers.Real):
        raise TypeError(f"a neuron can be {use} only; got {factor!r:.80}")
    return float(factor)
