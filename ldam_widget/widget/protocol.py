"""Messages between kernel and page: JSON contents, and bytes for pictures. Plain data only, no live objects.

Kernel to page, by `kind`: "setup" (everything the panel is built from), "frame" (one buffer per pane, see `panes`),
"state" (after a change), "units", "diagnosis", "changes", "error", "download" (one buffer). Page to kernel: "hello",
"bye", "ack", "set" and "do", parsed here, and messages for a single part, parsed there. `js/src/protocol.ts` is the
other side.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from ..core.parameters import Parameter
from ..diagnostics.agreement import Agreement
from ..network.units import Neuron

LONGEST = 10_000  # characters of any text from a page; layer names and neuron keys are far shorter
MOST_NEURONS = 1000  # in one selection

Content = Mapping[str, Any]
Message = tuple[dict[str, Any], list[bytes]]


# ---- from the page -------------------------------------------------------------------------------------------------


class Hello(NamedTuple):
    """A view has appeared. `hides`: in a page that hides the saved picture while there is a panel."""

    view: str
    hides: bool = False


class Bye(NamedTuple):
    """A view has gone."""

    view: str


class Ack(NamedTuple):
    """A view has painted frame `seq`, or signals that it is alive."""

    seq: int
    visible: bool
    view: str


class Set(NamedTuple):
    """Sliders have moved."""

    view: str
    rev: int
    params: dict[str, Any]
    seq: int | None = None  # the frame that it also acknowledges


class Do(NamedTuple):
    """A button was pressed."""

    action: str


class Other(NamedTuple):
    """A message for one of the parts."""

    kind: str
    content: Content


FromPage = Hello | Bye | Ack | Set | Do | Other


def parse(content: Any) -> FromPage | None:
    """Parse a message from a page; None for anything malformed: a page must not be able to raise in the kernel."""
    if not isinstance(content, Mapping):
        return None
    view = text(content, "view") or ""
    match content.get("kind"):
        case "hello":
            return Hello(view, content.get("hides") is True)
        case "bye":
            return Bye(view)
        case "ack":
            seq = integer(content, "seq")
            return None if seq is None else Ack(seq, content.get("visible") is not False, view)
        case "set":
            params = content.get("params")
            if not isinstance(params, Mapping) or not all(isinstance(name, str) for name in params):
                return None
            return Set(view, integer(content, "rev") or 0, dict(params), integer(content, "seq"))
        case "do":
            action = text(content, "what")
            return None if action is None else Do(action)
        case str(kind):
            return Other(kind, content)
    return None


def text(content: Content, field: str) -> str | None:
    """A string of at most `LONGEST` characters; None for anything else."""
    value = content.get(field)
    return value if isinstance(value, str) and len(value) <= LONGEST else None


def integer(content: Content, field: str) -> int | None:
    """An integer that a float can represent; None for anything else."""
    value = content.get(field)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return int(value) if abs(value) < 2**53 and value == int(value) else None  # not NaN


def flag(content: Content, field: str) -> bool | None:
    """True or False; None for anything else."""
    value = content.get(field)
    return value if isinstance(value, bool) else None


def texts(content: Content, field: str) -> list[str] | None:
    """A list of strings, cut to `MOST_NEURONS`; None for anything else."""
    value = content.get(field)
    if not isinstance(value, list):
        return None
    value = value[:MOST_NEURONS]
    return value if all(isinstance(one, str) and len(one) <= LONGEST for one in value) else None


def integers(content: Content, field: str) -> list[int] | None:
    """A short list of integers; None for anything else."""
    value = content.get(field)
    if not isinstance(value, list) or len(value) > MOST_NEURONS:
        return None
    found = [integer({"": one}, "") for one in value]
    return None if any(one is None for one in found) else [one for one in found if one is not None]


# ---- to the page ---------------------------------------------------------------------------------------------------


def plain(value: Any) -> float | None:
    """A number for JSON: NaN and infinity, which it lacks, become null."""
    number = float(value)
    return number if math.isfinite(number) else None


def plains(values: Mapping[str, float]) -> dict[str, float | None]:
    """`plain` of every value."""
    return {name: plain(value) for name, value in values.items()}


def parameter(declared: Parameter) -> dict[str, Any]:
    """A slider; "step_size@1" is the step size of model 1."""
    name, at, index = declared.name.partition("@")
    return declared.describe() | ({"of": name, "model": int(index)} if at else {})


def unit(neuron: Neuron) -> dict[str, str]:
    """A neuron, as shown in the picker."""
    return {"key": neuron.key, "label": neuron.short, "name": neuron.name}


def fault(error: BaseException) -> dict[str, str]:
    """An exception, as shown in the banner."""
    said = str(error) or type(error).__name__
    if not isinstance(error, (ValueError, RuntimeError)) or type(error) is RuntimeError:
        said = f"{type(error).__name__}: {said}"
    hint = "The averages are kept. Change a setting and press play to go on, or restart."
    return {"message": said[:2000], "hint": hint}


def agreement(rows: Iterable[Agreement]) -> list[dict[str, Any]]:
    """How well models agree, one row per neuron."""
    return [
        {
            "key": row.key,
            "label": row.key,
            "name": row.name,
            "difference": plain(row.difference),
            "change": plain(row.change),
            "error": plain(row.error),
            "noise": plain(row.noise),
            "correlation": plain(row.correlation),
            "gap": plain(row.gap),
            "activations": [plain(value) for value in row.activation],
        }
        for row in rows
    ]
