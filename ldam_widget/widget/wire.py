"""Messages between the kernel and the front end: JSON contents, and bytes for pictures.

Kernel to front end, by `kind`: "setup" (everything the panel is built from), "frame" (one buffer a pane), "state"
(parameters after a change), "units" (a page of the picker's list), "error", "download" (one buffer). Front end to
kernel: "hello", "ack", "set", "do", "select", "units", "bye"; "lock", "show" and "scrub" where several models or
checkpoints are on show, which also have "changes" (a ranking of neurons) sent. `js/src/protocol.ts` is the other side.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..analysis.ranking import Ranking, by_difference
from ..core.parameters import Parameter
from ..diagnostics.agreement import Agreement
from ..pictures import images
from ..sampling.comparison import Comparison
from ..sampling.frame import Frame
from ..sampling.sampler import Sampler
from ..sampling.standing import in_short

RAW_LIMIT = 100_000  # bytes a pane; larger ones are compressed where that is quicker, see `link`
MOST_RAW = 1_000_000  # bytes a pane; larger ones always are
TRACE_POINTS = 300
LONGEST = 10_000  # characters of any text of a page; names of layers and keys of neurons are far shorter
REAL_TIME = 0.05  # seconds of every reading that may go to real images, until all have been looked at
RANKED = 1000  # neurons that a page is told of; nobody reads further

Message = tuple[dict[str, Any], list[bytes]]

ACTIONS = frozenset(
    {"play", "pause", "step", "restart", "reset_average", "snapshot", "record", "stop_record", "dismiss_error"}
    | {"heat", "measure_scales", "train", "stop_train", "discriminator_only", "with_neurons"}
    | {"scan", "stop_scan", "follow"}
)


class Hello(NamedTuple):
    """A view has appeared."""

    view: str


class Bye(NamedTuple):
    """A view has gone."""

    view: str


class Ack(NamedTuple):
    """A view has painted frame `seq`, or lives."""

    seq: int
    visible: bool
    view: str


class Set(NamedTuple):
    """Sliders have moved."""

    view: str
    rev: int
    params: dict[str, Any]
    seq: int | None = None  # the frame that is acknowledged with it


class Do(NamedTuple):
    """A button was pressed."""

    what: str


class Select(NamedTuple):
    """Another layer, other neurons, another kernel or prior, or the strongest inputs of a class were chosen."""

    layer: str | None
    neurons: list[str] | None
    kernel: str | None = None
    wired_to: int | None = None
    prior: str | None = None


class Units(NamedTuple):
    """The picker asks for a page of units."""

    layer: str
    query: str
    offset: int
    limit: int


class Lock(NamedTuple):
    """One value of a parameter for all models, or one each."""

    name: str
    locked: bool


class Show(NamedTuple):
    """What is to be seen: rows of a comparison, or which weights of a model that trains."""

    what: str


class Scrub(NamedTuple):
    """A kept checkpoint was chosen, by its place in the list."""

    place: int


FromPage = Hello | Bye | Ack | Set | Do | Select | Units | Lock | Show | Scrub


def parse(content: Any) -> FromPage | None:
    """A message of the front end, or None for anything malformed: a page must not be able to raise in the kernel."""
    if not isinstance(content, Mapping):
        return None
    view = _text(content.get("view")) or ""
    kind = content.get("kind")
    if kind == "hello":
        return Hello(view)
    if kind == "bye":
        return Bye(view)
    if kind == "ack":
        seq = _integer(content.get("seq"))
        return None if seq is None else Ack(seq, content.get("visible") is not False, view)
    if kind == "set":
        params, rev = content.get("params"), _integer(content.get("rev"))
        if not isinstance(params, Mapping) or not all(isinstance(name, str) for name in params):
            return None
        return Set(view, rev or 0, dict(params), _integer(content.get("seq")))
    if kind == "do":
        what = content.get("what")
        return Do(what) if isinstance(what, str) and what in ACTIONS else None
    if kind == "select":
        layer, neurons = content.get("layer"), content.get("neurons")
        if neurons is not None:
            if isinstance(neurons, str) or not isinstance(neurons, Sequence):
                return None
            neurons = list(neurons[:1000])
            if any(_text(neuron) is None for neuron in neurons):
                return None
        return Select(
            _text(layer),
            neurons,
            _text(content.get("kernel")),
            _integer(content.get("wired_to")),
            _text(content.get("prior")),
        )
    if kind == "lock":
        name, locked = _text(content.get("name")), content.get("locked")
        return Lock(name, locked) if name is not None and isinstance(locked, bool) else None
    if kind == "show":
        shown = _text(content.get("what"))
        return None if shown is None else Show(shown)
    if kind == "scrub":
        index = _integer(content.get("index"))
        return None if index is None else Scrub(index)
    if kind == "units":
        offset, limit = _integer(content.get("offset")), _integer(content.get("limit"))
        query = _text(content.get("query")) or ""
        return Units(_text(content.get("layer")) or "", query[:200], max(0, offset or 0), min(max(1, limit or 50), 500))
    return None


def setup(
    sampler: Sampler, parameters: Iterable[Parameter], params: Mapping[str, float], choices: Sequence[str], **more: Any
) -> dict[str, Any]:
    """Everything the panel is built from; `choices` are names of kernels, `more` is what the widget alone knows."""
    draws = sampler.history.draws().mean(2) if len(sampler.history.steps()) else np.empty((0, 0))
    every = max(1, math.ceil(len(draws) / TRACE_POINTS))
    return {
        "kind": "setup",
        "device": str(sampler.device),
        "layer": sampler.layer,
        "layers": [row._asdict() for row in sampler.layers],
        "neurons": [_unit(neuron) for neuron in sampler.neurons],
        "parameters": [_describe(parameter) for parameter in parameters],
        "params": dict(params),
        "chains": sampler.chains,
        "notes": list(sampler.notes),
        "kernel": {
            "name": sampler.kernel.name,
            "note": sampler.kernel_note,
            "calibrated": sampler.has_law,
            "choices": list(choices),
        },
        "real_images": sampler.dataset is not None,
        **settings(sampler),
        "trace": {
            "steps": sampler.history.steps()[::every].tolist(),
            "activation": [[plain(v) for v in row] for row in draws[::every]],
        },
        **more,
    }


def frame(
    sampler: Sampler,
    picture: Frame,
    chains_shown: int,
    *,
    with_average: bool,
    lossless: bool,
    raw: int = RAW_LIMIT,
    **more: Any,
) -> Message:
    """One frame message: sample tiles, and at a slower rate the average. Panes up to `raw` bytes are not compressed."""
    tiles = images.panes(picture, len(sampler.input_shape), sampler.pixel_range, chains_shown)
    samples, average = images.row_names(picture, len(tiles.sample))
    wanted = [("sample", tiles.sample, samples)]
    if with_average:
        wanted.append(("average", tiles.average, [average]))
    described, buffers = [], []
    for name, levels, labels in wanted:
        pane, data = _pane(name, levels, tiles.shown, labels, lossless, raw)
        described.append(pane)
        buffers.append(data)
    content = {
        "kind": "frame",
        "steps": picture.steps,
        "panes": described,
        "activation": picture.activation.tolist(),
        "burned_in": picture.burned_in.tolist(),
        "burn_in_step": sampler.burn_in_step,
        **more,
    }
    return content, buffers


def is_light(content: Mapping[str, Any]) -> bool:
    """Are all pictures of a frame message small enough to travel as they are?"""
    return all(math.prod(pane["shape"]) <= RAW_LIMIT for pane in content["panes"])


def with_earlier(newest: Message, earlier: Iterable[Message]) -> Message:
    """A frame message that brings the pictures before it along, oldest first; their buffers come after its own."""
    content, buffers = newest
    before = list(earlier)
    if not before:
        return newest
    content = {**content, "earlier": [old for old, _ in before]}
    return content, [*buffers, *(data for _, its in before for data in its)]


def _pane(
    name: str, levels: images.Levels, shown: images.Range, labels: Sequence[str], lossless: bool, raw: int, **more: Any
) -> tuple[dict[str, Any], bytes]:
    """Description and pixels of tiles (rows, columns, H, W, ch)."""
    encoding = "raw" if levels.nbytes <= raw else "png" if lossless else "jpeg"
    # bytes, never a view: the session does not copy, and a reused buffer arrives with later pixels in it
    data = levels.tobytes() if encoding == "raw" else images.encode(images.mosaic(levels), encoding)
    described = {
        "name": name,
        "encoding": encoding,
        "shape": list(levels.shape),
        "range": [plain(end) for end in shown],  # null if the pixels have run off to infinity
        "labels": list(labels),
        **more,
    }
    return described, data


def comparison_frame(
    comparison: Comparison, *, show: str, with_average: bool, lossless: bool, raw: int = RAW_LIMIT, **more: Any
) -> Message:
    """One message for all models, so that their pictures stay in step: a row a model, and differences of averages."""
    lead = comparison.lead
    axes = len(lead.input_shape)
    pictures = [sampler.frame() for sampler in comparison.samplers]
    tiles = images.panes_alike(pictures, axes, lead.pixel_range)
    panes = []
    if show != "averages":
        panes += [
            _pane(f"sample:{k}", tile.sample, tile.shown, [f"{name}\nnow"], lossless, raw, model=k)
            for k, (name, tile) in enumerate(zip(comparison.names, tiles, strict=True))
        ]
    if with_average:
        if show != "samples":
            panes += [
                _pane(f"average:{k}", tile.average, tile.shown, [f"{name}\naverage"], lossless, raw, model=k)
                for k, (name, tile) in enumerate(zip(comparison.names, tiles, strict=True))
            ]
        levels, end = images.signed_levels(images.as_pictures(comparison.difference_images, axes))
        first = comparison.names[0]
        for k, row in enumerate(levels, start=1):
            name = comparison.names[k]
            label = "difference\nof averages" if len(levels) == 1 else f"{name}\nminus {first}"
            panes.append(_pane(f"difference:{k}", row[None], (-end, end), [label], True, raw, model=k, colors="signed"))
    activations = comparison.activation.mean(2)
    content = {
        "kind": "frame",
        "steps": comparison.steps,
        "panes": [described for described, _ in panes],
        "activation": [[plain(v) for v in row] for row in pictures[0].activation.tolist()],
        "activations": [[plain(v) for v in row] for row in activations.tolist()],
        "burned_in": pictures[0].burned_in.tolist(),
        "burn_in_step": lead.burn_in_step,
        **more,
    }
    return content, [data for _, data in panes]


def agreement(rows: Iterable[Agreement]) -> list[dict[str, Any]]:
    """How far models agree, a row a neuron."""
    return [
        {
            "key": row.key,
            "label": row.key,
            "name": row.name,
            "difference": plain(row.difference),
            "correlation": plain(row.correlation),
            "gap": plain(row.gap),
            "activations": [plain(value) for value in row.activation],
        }
        for row in rows
    ]


def changes(ranking: Ranking, *, running: bool) -> dict[str, Any]:
    """How far the ranking of a layer is, and the neurons that are done, the most changed first."""
    rows = by_difference(ranking.done)
    return {
        "kind": "changes",
        "layer": ranking.layer,
        "done": len(rows),
        "total": ranking.total,
        "running": running,
        "error": "",
        "rows": agreement(rows[:RANKED]),
    }


def settings(sampler: Sampler) -> dict[str, Any]:
    """What is said with every change of a parameter."""
    return {
        "kernel_note": sampler.kernel_note,
        "calibrated": sampler.has_law,
        "scales": sampler.scales,
        "warming": sampler.warming_up,
        "goal": sampler.goal if isinstance(sampler.goal, str) else None,
    }


def gauges(sampler: Sampler) -> dict[str, Any]:
    """What is measured, at the pace of reading."""
    acceptance = sampler.acceptance
    return {
        "temperature": {
            "asked": sampler.temperature_asked,
            "measured": [plain(value) for value in sampler.measured_temperature],
        },
        "acceptance": None if acceptance is None else [plain(value) for value in acceptance.mean(1)],
        "execution": sampler.execution_report,
    }


def standing(samplers: Iterable[Sampler]) -> list[list[dict[str, str]]] | None:
    """How strong activations are among those of real images, in whole sentences and in short, [model][neuron]; None
    without images, or while they are being looked at."""
    said = [sampler.standing(REAL_TIME) for sampler in samplers]
    if any(words is None for words in said):
        return None
    return [[{"text": text, "short": in_short(text)} for text in words or ()] for words in said]


def score(sampler: Sampler) -> list[list[float | None]] | None:
    """D of the present samples, [neuron][chain]; None without a discriminator. Costs a pass of D if its weight is 0."""
    found = sampler.discriminator_score
    return None if found is None else [[plain(value) for value in row] for row in found]


def units(sampler: Sampler, ask: Units) -> dict[str, Any]:
    """A page of the units whose number starts with, or whose name contains, the query."""
    query = ask.query.strip().lower()
    named = sampler.unit_names
    found = [
        i
        for i in range(sampler.units)
        if not query or str(i).startswith(query) or (named and query in str(named[i]).lower())
    ]
    page = found[ask.offset : ask.offset + ask.limit]
    return {
        "kind": "units",
        "layer": ask.layer,
        "query": ask.query,
        "offset": ask.offset,
        "total": len(found),
        "units": [_unit(sampler.unit(str(i))) for i in page],
    }


def fault(error: BaseException) -> dict[str, str]:
    """An exception as the banner shows it."""
    hint = "The averages are kept. Change a setting and press play to go on, or restart."
    text = str(error) or type(error).__name__
    if not isinstance(error, (ValueError, RuntimeError)) or type(error) is RuntimeError:
        text = f"{type(error).__name__}: {text}"
    return {"message": text[:2000], "hint": hint}


def stats(values: Mapping[str, float]) -> dict[str, float | None]:
    """JSON has no NaN."""
    return {name: plain(value) for name, value in values.items()}


def _describe(parameter: Parameter) -> dict[str, Any]:
    """As the front end knows it; "step_size@1" is the step size of model 1."""
    name, at, index = parameter.name.partition("@")
    return parameter.describe() | ({"of": name, "model": int(index)} if at else {})


def _unit(neuron: Any) -> dict[str, str]:
    return {"key": neuron.key, "label": neuron.key, "name": neuron.name}


def plain(value: Any) -> float | None:
    """JSON has no NaN and no infinity: null."""
    number = float(value)
    return number if math.isfinite(number) else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and len(value) <= LONGEST else None


def _integer(value: Any) -> int | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return int(value) if abs(value) < 2**53 else None  # nor NaN, and no integer too long for a float
