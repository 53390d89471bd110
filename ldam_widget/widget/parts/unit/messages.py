"""What is known of a unit, as messages for the page."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ....analysis.unit import News, Optimised, Progress, Reaction, Remark, Sampled, Seen
from ....network.contributions import Connections, Contribution
from ....pictures import images
from ....pictures.display import Display
from ....toolbox import views
from ...panes import Quality, pane
from ...protocol import Message, plain

_QUALITY = Quality(lossless=False, raw=60_000)
_GREY = (0.0, 1.0)  # range of a backward view


def message(
    news: News,
    subject: tuple[str, int],
    shape: tuple[int, ...],
    range: Any,
    display: Display,
) -> Message:
    """The fields that a piece of news adds, and the buffers of its panes.

    Args:
        news: of a `UnitFinder`.
        subject: layer and unit.
        shape, range: of an image, and its pixels.
        display: bands and slice shown of pictures.
    """

    def sheet(name: str, pictures: Tensor, shown: Any = range) -> tuple[dict[str, Any], bytes]:
        made = images.as_pictures(pictures[None], len(shape), Display(bands=display.bands, slice=display.slice))
        shown = images.value_range(made, shown)
        return pane(name, images.Tiles(images.to_levels(made, shown), None, None), shown, [name], _QUALITY)

    sheets: list[tuple[dict[str, Any], bytes]] = []
    fields: dict[str, Any] = {}
    match news:
        case Progress():
            fields["progress"] = {"done": news.done, "total": news.total}
        case Seen():
            fields["seen"] = _seen(news, *subject)
            if news.pictures is not None:
                sheets.append(sheet("whole", news.pictures))
            if news.crops is not None:
                sheets.append(sheet("crops", news.crops))
        case Reaction():
            sheets.append(sheet("deconvolution", views.raw(news.deconvolution), _GREY))
        case Connections():
            fields["connections"] = {
                "inputs": [_contribution(each) for each in news.inputs],
                "outputs": [_contribution(each) for each in news.outputs],
            }
        case Optimised():
            sheets.append(sheet("optimised", news.picture[None]))
            fields["optimised"] = plain(news.activation)
        case Sampled():
            sheets += [sheet("sample", news.sample[None]), sheet("average", news.average[None])]
            fields["sampled"] = plain(news.activation)
        case Remark():
            fields["remark"] = {"about": news.about, "text": news.text[:500]}
    if sheets:
        fields["panes"] = [described for described, _ in sheets]
    return fields, [data for _, data in sheets]


def _seen(seen: Seen, layer: str, unit: int) -> dict[str, Any]:
    histogram, survey = seen.histogram, seen.survey
    places = survey.map(layer)
    return {
        "images": survey.images,
        "of": seen.of,
        "final": seen.final,
        "map": list(places),
        "dead": bool(histogram.top) and histogram.top[0] <= 0,
        "silent": plain(histogram.zero_share),
        "mean": plain(histogram.mean),
        "histogram": {
            "low": plain(histogram.edges[0]),
            "high": plain(histogram.edges[-1]),
            "counts": list(histogram.counts),
            "below": histogram.below,
            "above": histogram.above,
        },
        "top": [
            {"value": plain(each.value), "name": name[:100], "place": _place(each.place, places)}
            for each, name in zip(seen.top, seen.names, strict=True)
        ],
        "boxes": [list(box) for box in seen.boxes],
    }


def _place(flat: int, places: tuple[int, ...]) -> list[int]:
    found: list[int] = []
    for size in reversed(places):
        flat, at = divmod(flat, size)
        found.insert(0, at)
    return found


def _contribution(each: Contribution) -> dict[str, Any]:
    return {"layer": each.layer, "unit": each.unit, "name": each.name, "value": plain(each.value)}
