"""Figures for a paper: everything that was on show, with what it takes to do it again."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

import ldam_widget as ldam


@pytest.mark.parametrize("shape", [(1, 6, 5), (3, 6, 5), (16,)], ids=str)
def test_figure_shows_samples_averages_labels_and_parameters(shape: tuple[int, ...], tmp_path: Path) -> None:
    model = nn.Sequential(nn.Flatten(), nn.LazyLinear(4))
    model(torch.zeros(1, *shape))
    s = ldam.Sampler(model, input_shape=shape, chains=2, class_names=["a", "b", "c", "d"])
    frame = s.step(4)
    figure = ldam.figures.samples(frame, [n.label for n in s.neurons], title="a title", chains=2)
    assert len(figure.axes) == 3 * 4  # two chains and the average, four neurons
    assert [axis.get_title().split("\n")[0] for axis in figure.axes[:4]] == ["0 a", "1 b", "2 c", "3 d"]
    assert [figure.axes[i].get_ylabel() for i in (0, 4, 8)] == ["sample, chain 1", "sample, chain 2", "average"]
    text = figure.get_supxlabel()
    assert text.startswith("step 4; ")
    for name, value in s.params.items():
        assert f"{name.replace('_', ' ')} {value:.4g}" in text
    figure.savefig(tmp_path / "x.pdf")
    assert (tmp_path / "x.pdf").read_bytes().startswith(b"%PDF")
