"""Reads an expression of neurons from text.

::

    blend   = sum [ "->" sum ]                      see `algebra.interpolate`
    sum     = product { ("+" | "-") product }
    product = factor { ("*" | "/") factor }         a neuron or a sum, times or over numbers
    factor  = ("+" | "-") factor | "(" blend ")" | number | neuron
    neuron  = [ layer ":" ] unit                    layer as in `addresses.parse`
    unit    = 5 | 5@3,4 | 5@mean | class name | 'class name'

A class name may contain anything, also operators: the longest name that fits is taken.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Sequence
from typing import NamedTuple, NoReturn

from ..network.addresses import OUTPUT
from ..network.units import unknown_name
from .algebra import Expression, Unit, Weighted

_UNIT = r"\d+(?:@(?:mean|center|\d+(?:\s*,\s*\d+)*))?"
_LAYERED = re.compile(rf"\s*(.+):\s*({_UNIT})\s*", re.DOTALL)  # a layer's name may hold colons
_SAME = {"→": "->", "−": "-", "·": "*", "×": "*"}
_SIGN = re.compile(r"->|[→+−·×*/()-]")
_WRITTEN = re.compile(r"[→+−·×*/()'\"-]")  # more than one plain neuron
_BOUNDARY = re.compile(r"[\s→+−·×*/()-]|$")  # what may follow a class name
_CALL = r"(?:#[1-9]\d*)?(?:\[[^\[\]]+\])*\s*:\s*"  # which call of a layer, which part of its output
_SOME_LAYER = re.compile(rf"[\w.]+{_CALL}")
_DECIMAL = re.compile(
    r"(?:\d+\.\d*|\.\d+|\d+(?=[eE]))(?:[eE][+-]?\d+)?(?![\w@:])|(?:nan|inf|infinity)\b", re.IGNORECASE
)
_WHOLE = re.compile(rf"{_UNIT}(?![\w.@])")
_WORD = re.compile(r"[^\s()+*/'\"→·×−-]+")
_QUOTED = re.compile(r"'([^']*)'|\"([^\"]*)\"")


def read(text: str, names: Sequence[str], layers: Collection[str]) -> Expression:
    """Text in ``neurons=[…]`` -> expression; of a plain neuron, such as "5" or "fc3:5@3,4", `Expression.plain` is set.

    Args:
        text: as above; a text that is a class name is that class.
        names: of the classes.
        layers: names of all modules; others are unknown layers, which `choice.choose_layer` reports.

    Raises:
        ValueError: the message quotes the text, says where it is wrong, and what would work.
    """
    inside = text.partition(":")[2].strip()
    if text in names or not (_WRITTEN.search(text) or inside in names):
        layered = _LAYERED.fullmatch(text)
        unit = Unit(layered[2], layered[1].strip()) if layered else Unit(text)
        return Expression((Weighted(1.0, 1.0, unit),))
    try:
        return _Reader(text, names, layers).read()
    except RecursionError:
        raise ValueError(f"neuron {text:.40}…: too many brackets or signs within each other") from None


class _Token(NamedTuple):
    kind: str  # "sign", "factor" (a number with a decimal point), "whole" (a neuron, or a factor), "neuron", "end"
    value: str | float | Unit
    at: int


class _Value(NamedTuple):
    """A number, terms, or both: a whole number is a neuron, unless it turns out to be a factor."""

    number: float | None
    terms: tuple[Weighted, ...] | None

    def times(self, factor: float) -> _Value:
        number = None if self.number is None else self.number * factor
        terms = self.terms and tuple(Weighted(factor * start, factor * end, atom) for start, end, atom in self.terms)
        return _Value(number, terms)


class _Reader:
    def __init__(self, text: str, names: Sequence[str], layers: Collection[str]) -> None:
        self._text, self._names = text, names
        # a number is a unit, also if a class has it as its name
        self._classes = sorted((n for n in names if n.strip() and not n.isdigit()), key=len, reverse=True)
        self._layers = sorted({OUTPUT, *layers} - {""}, key=len, reverse=True)
        self._end = 0  # of the tokens seen so far
        self._next = self._token(0)

    def read(self) -> Expression:
        value = self._blend()
        if self._next.kind != "end":
            self._fail("an operator (+, -, *, / or ->) should stand before", self._next.at, quote=True)
        return Expression(value)

    # ---- grammar ---------------------------------------------------------------------------------------------------

    def _blend(self) -> tuple[Weighted, ...]:
        start = self._sum()
        at = self._next.at
        if not self._take("->"):
            return start
        end = self._sum()
        if any(term.start != term.end for term in (*start, *end)):
            self._fail("what is interpolated already has no second interpolation", at)
        return (*(term._replace(end=0.0) for term in start), *(term._replace(start=0.0) for term in end))

    def _sum(self) -> tuple[Weighted, ...]:
        sign, found = self._take("+", "-") or "+", ()
        while True:
            at = self._next.at
            value = self._product()
            if value.terms is None:
                self._fail(f"{value.number:g} is a factor without a neuron; write for example {value.number:g}*3", at)
            found = (*found, *(value.times(-1.0) if sign == "-" else value).terms)  # type: ignore[misc]  # not None
            sign = self._take("+", "-")
            if not sign:
                return found

    def _product(self) -> _Value:
        begun, value = self._next.at, self._factor()
        while True:
            at = self._next.at
            sign = self._take("*", "/")
            if not sign:
                return value
            second, right = self._next.at, self._factor()
            value = self._multiplied(value, right, at, (begun, second)) if sign == "*" else self._over(value, right, at)

    def _multiplied(self, left: _Value, right: _Value, at: int, places: tuple[int, int]) -> _Value:
        if left.terms is None and right.terms is None:
            return _Value((left.number or 0.0) * (right.number or 0.0), None)
        for factor, value, place in ((left, right, places[0]), (right, left, places[1])):
            may_be_factor = factor.terms is None or (factor.number is not None and value.number is None)
            if factor.number == 0 and (may_be_factor or value.number is not None):
                self._fail("the factor 0 leaves nothing of a neuron; leave it out", place)
            if may_be_factor:
                return _Value(None, value.times(factor.number or 0.0).terms)
        told = ""
        if left.number is not None and right.number is not None:
            told = f"; {left.number:g} times neuron {right.number:g} is {left.number:.1f}*{right.number:g}"
        return self._fail(f"this is a product of two neurons, which can only be added{told}", at)

    def _over(self, left: _Value, right: _Value, at: int) -> _Value:
        if right.number == 0:
            self._fail("this is a division by zero; divide by any other number", at)
        neurons = right.terms is not None and left.number is not None and left.terms is not None
        if right.number is None or neurons:
            told = f"; write {right.number:.1f} if you mean the number" if right.number is not None else ""
            self._fail(f"a neuron can be divided by a number only, not by another neuron{told}", at)
        scaled = left.times(1 / right.number)
        return scaled if left.terms is None else _Value(None, scaled.terms)

    def _factor(self) -> _Value:
        kind, value, at = self._next
        if sign := self._take("+", "-"):
            return self._factor().times(-1.0) if sign == "-" else self._factor()
        if self._take("("):
            terms = self._blend()
            if not self._take(")"):
                self._fail("a closing bracket is missing for the one", at, quote=True)
            return _Value(None, terms)
        if kind in ("end", "sign"):
            before = self._text[:at].rstrip()[-1:]
            after = f" after {before!r}" if before else ""
            self._fail(f"a neuron should follow{after}, such as 5, fc3:5 or a class name", at)
        self._advance()
        if isinstance(value, Unit):
            number = float(str(value.what)) if kind == "whole" else None
            return _Value(number, (Weighted(1.0, 1.0, value),))
        number = float(value)
        if not math.isfinite(number):
            self._fail("a factor must be finite", at)
        return _Value(number, None)

    # ---- tokens ----------------------------------------------------------------------------------------------------

    def _take(self, *signs: str) -> str:
        """The sign, if it is next; else ""."""
        value = self._next.value
        if self._next.kind != "sign" or value not in signs:
            return ""
        self._advance()
        return str(value)

    def _advance(self) -> None:
        self._next = self._token(self._end)

    def _token(self, at: int) -> _Token:
        while at < len(self._text) and self._text[at].isspace():
            at += 1
        self._end = at
        if at == len(self._text):
            return _Token("end", "", at)
        named = self._class(at)
        if named is not None:
            return _Token("neuron", Unit(named), at)
        layer = self._layer(at)
        if layer is not None:
            within = self._end
            whole = _WHOLE.match(self._text, within)
            unit = self._matched(whole) if whole else self._class(within)
            if unit is None:
                self._fail("a unit should follow the layer, such as fc3:5 or fc3:5@3,4, not", within, quote=True)
            return _Token("neuron", Unit(unit, layer), at)
        if found := _DECIMAL.match(self._text, at):
            return _Token("factor", float(self._matched(found)), at)
        if found := _WHOLE.match(self._text, at):
            unit = self._matched(found)
            return _Token("whole" if unit.isdigit() else "neuron", Unit(unit), at)
        if found := _SIGN.match(self._text, at):
            return _Token("sign", _SAME.get(sign := self._matched(found), sign), at)
        word = _WORD.match(self._text, at)
        if word is None:
            self._fail("a quotation mark is not closed", at)
        return self._fail(unknown_name(word[0], self._names), at)

    def _class(self, at: int) -> str | None:
        """The class whose name begins here, in quotes or the longest that fits."""
        if quoted := _QUOTED.match(self._text, at):
            self._end = quoted.end()
            return quoted[1] if quoted[1] is not None else quoted[2]
        for name in self._classes:
            end = at + len(name)
            if self._text.startswith(name, at) and _BOUNDARY.match(self._text, end):
                self._end = end
                return name
        return None

    def _layer(self, at: int) -> str | None:
        for name in self._layers:
            if self._text.startswith(name, at) and (after := re.compile(_CALL).match(self._text, at + len(name))):
                self._end = after.end()
                break
        else:
            found = _SOME_LAYER.match(self._text, at)
            if not found:
                return None
            self._end = found.end()
        return self._text[at : self._end].rstrip().removesuffix(":").rstrip()

    def _matched(self, found: re.Match[str]) -> str:
        self._end = found.end()
        return found[0]

    def _fail(self, why: str, at: int, *, quote: bool = False) -> NoReturn:
        """Raise ValueError; `quote` repeats the text from there."""
        rest = f" {self._text[at : at + 20]!r}" if quote else ""
        raise ValueError(f"neuron {self._text!r}, character {at + 1}: {why}{rest}")
