"""Results print as tables, read as mappings, and go on to ArviZ."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Mapping

import arviz
import numpy as np
import pytest
from torch import nn

import ldam_widget as ldam
from ldam_widget.kernels import BAOAB

from .conftest import with_fixed_weights

EVIL = '<img src=x onerror="alert(1)">'


def network() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 12), nn.Tanh(), nn.Linear(12, 3))


@pytest.fixture(scope="module")
def sampler() -> ldam.Sampler:
    s = ldam.Sampler(
        with_fixed_weights(network), input_shape=(1, 4, 4), pixel_range=(0, 1), chains=2,
        class_names=["cat", EVIL, "c"], kernel=BAOAB(step_size=0.3), regularizers=[ldam.L2(1.0)],
        burn_in=ldam.BurnIn(20, tolerance=10),
    )  # fmt: skip
    s.step(400)
    return s


def test_diagnostics_of_chains_that_have_not_begun() -> None:
    s = ldam.Sampler(with_fixed_weights(network), input_shape=(1, 4, 4), kernel=BAOAB(step_size=0.3))
    found = s.diagnostics()
    assert len(found.verdicts) == len(found.neurons) == 3
    assert all(math.isnan(value) for value in [*found.ess, *found.r_hat, *found.mode_switches])
    assert "burning in" in repr(found)
    assert found._repr_html_().count("<tr>") == 4


def test_diagnostics_are_frozen_and_read_as_a_mapping(sampler: ldam.Sampler) -> None:
    found = sampler.diagnostics()
    assert isinstance(found, Mapping)
    assert found["temperature"]["asked"] == found.temperature.asked
    assert found["verdict"]["text"] == found.verdict.text
    assert {**found}["ess"] is found.ess
    assert "_samples" not in found
    assert found["verdict"] == {"level": found.verdict.level, "text": found.verdict.text}
    with pytest.raises(KeyError):
        found["nothing"]
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.ess = []  # type: ignore[misc]
    assert json.loads(json.dumps(found.to_dict()))["projections"]["r_hat"] == found.projections.r_hat


def cells(html: str) -> list[list[str]]:
    return [re.findall(r"<t[hd]>(.*?)</t[hd]>", row) for row in re.findall(r"<tr>(.*?)</tr>", html)]


def test_a_table_a_neuron(sampler: ldam.Sampler) -> None:
    found = sampler.diagnostics()
    head, *rows = cells(found._repr_html_())
    assert head[0] == "neuron"
    assert [row[0] for row in rows] == ["0 cat", "1 &lt;img src=x onerror=&quot;alert(1)&quot;&gt;", "2 c"]
    assert [row[-1] for row in rows] == found.verdicts
    assert float(rows[0][1]) == pytest.approx(found.r_hat[0], rel=1e-2)
    assert len(repr(found).splitlines()) == 2 + 3


def test_layers_wiring_modes_and_agreement_are_tables(sampler: ldam.Sampler) -> None:
    models = {"a": with_fixed_weights(network), "b": network()}
    comparison = ldam.Comparison(models, input_shape=(1, 4, 4), pixel_range=(0, 1), neurons=[0, 2])
    comparison.step(4)
    for table, rows in (
        (ldam.layers(network(), (1, 4, 4)), 4),
        (ldam.neurons_of(network(), 1, 5), 5),
        (ldam.explore(sampler, looks=2, every=10), 3),
        (comparison.agreement(), 2),
    ):
        found = cells(table._repr_html_())
        assert len(found) == 1 + rows == len(repr(table).splitlines()) - 1
        assert len({len(row) for row in found}) == 1


def test_arviz_finds_the_same(sampler: ldam.Sampler) -> None:
    found = sampler.diagnostics()
    data = found.to_arviz()
    activation = data.posterior["activation"]
    assert activation.dims == ("chain", "draw", "neuron")
    assert list(activation["neuron"].values) == found.neurons
    recorded = sampler.recorded()
    assert np.array_equal(activation.values, recorded.activation.transpose(2, 0, 1))
    summary = arviz.summary(data, round_to="none")
    assert summary["r_hat"].to_numpy() == pytest.approx(found.r_hat, rel=0.02)
    assert not any(map(math.isnan, summary["r_hat"]))
