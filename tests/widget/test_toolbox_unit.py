"""The page of a channel in the toolbox, against a survey: the ways to it, and what it says without one."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import ldam_widget as ldam

from .test_toolbox import SHAPE, View, network, photographs


def said_of_unit(view: View) -> list[dict[str, Any]]:
    """All that is said of the unit whose page is open."""
    view.until(lambda: any("complete" in each and each["id"] == view.of("unit")[-1]["id"] for each in view.of("unit")))
    return [each for each in view.of("unit") if each["id"] == view.of("unit")[-1]["id"]]


def test_the_page_of_the_chosen_channel() -> None:
    images = photographs(40)
    surveyed = ldam.survey(network(), images, progress=False)
    toolbox = ldam.Toolbox(network(), input_shape=SHAPE, images=images, survey=surveyed, labels=["a", "<b>", "c"])
    view = View(toolbox)
    view.until(lambda: view.of("frame"))
    view.tell({"kind": "unit", "layer": "2", "unit": 3})
    said = said_of_unit(view)
    assert (toolbox.layer, toolbox.unit) == ("2", 3)
    top = surveyed.top("2", 3)
    seen = next(each["seen"] for each in said if "seen" in each)
    assert [each["value"] for each in seen["top"]] == [each.value for each in top]
    assert {"connections", "optimised"} <= {name for each in said for name in each}
    assert not [each["remark"] for each in said if "remark" in each]
    toolbox.unit = (3, 1, 2)  # one place of it: the page is still that of the channel
    toolbox.index = 7
    view.until(lambda: view.newest()[0]["name"] == "7" and view.newest()[0]["unit"] == [3, 1, 2])
    reading = view.newest()[0]["reading"]
    with torch.no_grad():
        expected = network()[:3](images[7:8])[0, 3].max().item()
    assert reading["id"] == view.of("state")[-1]["unit_shown"] == said[0]["id"]
    assert reading["values"] == pytest.approx([expected], rel=1e-5)
    assert reading["ranks"] == pytest.approx([surveyed.percentile("2", 3, reading["values"][0])])
    toolbox.layer = "0"  # it follows
    assert said_of_unit(view)[0]["subject"] | {"networks": 0} == {
        "key": "3", "layer": "0", "unit": 3, "units": 6, "name": "", "back": True, "networks": 0,
    }  # fmt: skip
    view.tell({"kind": "unit", "layer": "4", "unit": 1})
    view.tell({"kind": "do", "what": "next_unit"})
    view.until(lambda: toolbox.unit == 2)
    view.tell({"kind": "do", "what": "next_unit"})
    view.until(lambda: toolbox.unit == 0)
    view.tell({"kind": "do", "what": "previous_unit"})
    view.until(lambda: toolbox.unit == 2)
    assert [each["subject"]["name"] for each in said_of_unit(view) if "subject" in each] == ["c"]
    for wanted in (("4", 0), ("4", 2), ("4", 1), ("0", 3), ("0", 0)):
        view.tell({"kind": "do", "what": "unit_back"})
        view.until(lambda wanted=wanted: (toolbox.layer, toolbox.unit) == wanted)
    another = View(toolbox)
    another.until(lambda: another.of("setup") and [each for each in another.of("unit") if "subject" in each])
    assert another.of("setup")[0]["unit_shown"] == another.of("unit")[0]["id"]
    another.tell({"kind": "do", "what": "close_unit"})
    another.until(lambda: another.of("state") and another.of("state")[-1]["unit_shown"] is None)
    toolbox.unit = 1
    another.settle()
    assert another.of("state")[-1]["unit_shown"] is None
    view.settle()
    toolbox.close()


def test_pages_of_channels_without_a_survey() -> None:
    """Some of the images are looked at; where there are none, the rest is shown, and so is the reason."""
    toolbox = ldam.Toolbox(network(), input_shape=SHAPE, images=photographs(), compare=network(2))
    view = View(toolbox)
    toolbox.unit_page()
    said = said_of_unit(view)
    assert said[0]["subject"]["networks"] == ["this network", "other"]
    for card, model in enumerate((network(), network(2))):
        expected = ldam.survey(model, photographs(), layers="0", progress=False).top("0", 0)[0].value
        seen = [each["seen"] for each in said if "seen" in each and each["card"] == card]
        assert seen[-1]["top"][0]["value"] == pytest.approx(expected, rel=1e-5)
    toolbox.close()
    toolbox = ldam.Toolbox(network(), input_shape=SHAPE)
    view = View(toolbox)
    toolbox.unit_page()
    said = said_of_unit(view)
    remarks = [each["remark"] for each in said if "remark" in each]
    assert remarks == [{"about": "real images", "text": "there are no real images: give images= or survey="}]
    assert any("optimised" in each for each in said)
    toolbox.unit_page(False)
    view.settle()
    assert view.of("state")[-1]["unit_shown"] is None
    toolbox.close()


def test_a_survey_of_another_network_is_refused() -> None:
    another = ldam.survey(network(2), photographs(), layers="0", progress=False)
    for wrong, error, message in (
        (another, ValueError, "another network or of other weights"),
        ("s", TypeError, "survey"),
    ):
        with pytest.raises(error, match=message):
            ldam.Toolbox(network(), input_shape=SHAPE, survey=wrong)


def test_a_page_says_that_the_network_has_been_trained_further() -> None:
    model = network()
    toolbox = ldam.Toolbox(model, input_shape=SHAPE, images=photographs())
    view = View(toolbox)
    toolbox.unit_page()
    said_of_unit(view)
    toolbox.next()
    view.until(lambda: view.of("frame") and view.newest()[0]["name"] == "1")
    assert not any("stale" in each for each in view.of("unit"))
    with torch.no_grad():
        model[0].weight.mul_(1.5)
    toolbox.next()
    view.until(lambda: any("stale" in each for each in view.of("unit")))
    before = view.of("unit")[-1]["id"]
    view.tell({"kind": "do", "what": "look_again"})
    view.until(lambda: view.of("unit")[-1]["id"] > before)
    expected = ldam.survey(model, photographs(), layers="0", progress=False).top("0", 0)[0].value
    seen = [each["seen"] for each in said_of_unit(view) if "seen" in each]
    assert seen[-1]["top"][0]["value"] == pytest.approx(expected, rel=1e-5)
    view.settle()
    toolbox.close()
