"""The field against direct sums, the gradient against autograd of the exact cost."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ldam_widget.embedding import field as fields
from ldam_widget.embedding.affinities import Graph, conditional, symmetric
from ldam_widget.embedding.field import Field
from ldam_widget.embedding.forces import Attraction, Repulsion
from ldam_widget.embedding.neighbours import nearest

from .clouds import clusters, discs


def sums(y: Tensor, at: Tensor) -> Tensor:
    """(3, m): Σ w, Σ w² (x − xⱼ), Σ w² (y − yⱼ), term by term."""
    d = at.double().unsqueeze(2) - y.double().unsqueeze(1)
    w = 1 / (1 + d.square().sum(0))
    return torch.stack([w.sum(1), *(w.square() * d).sum(2)])


def error(found: Tensor, exact: Tensor) -> float:
    """In units of the root mean square."""
    return float((found - exact).square().mean().sqrt() / exact.square().mean().sqrt())


FIELDS = [("early", 1e-4, 1e-5), ("map", 0.025, 0.003), ("wide", 0.03, 0.02)]


@pytest.mark.parametrize(("name", "force", "potential"), FIELDS, ids=[field[0] for field in FIELDS])
def test_the_field_of_all_points(name: str, force: float, potential: float) -> None:
    y = {"early": 1e-2 * discs(2000), "map": discs(3000), "wide": 9 * discs(1000)}[name]
    found, exact = Field(y).read(y), sums(y, y)
    assert error(found[0], exact[0]) < potential
    assert error(found[1:], exact[1:]) < force
    z = float(Repulsion(exact=False)(y)[1])
    assert z == pytest.approx(float(exact[0].sum()) - y.shape[1], rel=2 * potential)


def test_a_finer_grid_is_more_accurate(monkeypatch: pytest.MonkeyPatch) -> None:
    """So the rest is interpolation, and nothing else."""
    y = discs(1500)
    exact = sums(y, y)
    errors = []
    for spacing in (0.4, 0.2, 0.1):
        monkeypatch.setattr(fields, "_SPACING", spacing)
        errors.append(error(Field(y).read(y)[1:], exact[1:]))
    assert errors[1] < errors[0] / 6
    assert errors[2] < errors[1] / 6


def test_a_map_wider_than_the_grid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fields, "_MOST", 64)
    y = 3 * discs(500)
    field = Field(y)
    assert field.spacing == pytest.approx(float((y.amax(1) - y.amin(1)).max()) / 64)
    assert bool(field.read(y).isfinite().all())


def test_places_off_the_map() -> None:
    y = discs(300)
    far = torch.tensor([[1e6, -1e6, 0.0], [0.0, 1e6, -1e6]])
    assert bool(Field(y).read(far).isfinite().all())


def test_one_point() -> None:
    y = torch.tensor([[3.0], [-2.0]])
    torch.testing.assert_close(Field(y).read(y).flatten(), torch.tensor([1.0, 0, 0]), atol=1e-3, rtol=0)


def test_exact_repulsion() -> None:
    y = discs(700)
    force, z = Repulsion(exact=True)(y)
    exact = sums(y, y)
    torch.testing.assert_close(force.double(), exact[1:], rtol=1e-4, atol=1e-5)
    assert float(z) == pytest.approx(float(exact[0].sum()) - 700, rel=1e-5)


@pytest.mark.parametrize(("exact", "tolerance"), [(True, 1e-4), (False, 0.02)])
def test_the_gradient_against_autograd_of_the_exact_cost(exact: bool, tolerance: float) -> None:
    points, _ = clusters(300)
    found, distances = nearest(points, 60)
    graph = symmetric(found, conditional(distances, 20.0))
    y = discs(300)
    attraction, repulsion = Attraction(graph), Repulsion(exact)
    force, z = repulsion(y)
    gradient = 4 * (attraction(y) - force / z)
    at = y.double().requires_grad_()
    cost = exact_cost(graph, at)
    (expected,) = torch.autograd.grad(cost, at)
    assert error(gradient, expected) < tolerance
    assert attraction.cost(y) + float(z.log()) == pytest.approx(float(cost.detach()), abs=1e-4 if exact else 3e-3)


def test_the_attraction_does_not_depend_on_its_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    points, _ = clusters(400)
    found, distances = nearest(points, 30)
    graph = symmetric(found, conditional(distances, 10.0))
    y, whole = discs(400), Attraction(graph)
    monkeypatch.setattr("ldam_widget.embedding.affinities._EDGES", {"cpu": 100})
    parts = Attraction(graph)
    assert len(graph.blocks()) > 100
    torch.testing.assert_close(parts(y), whole(y))
    assert parts.cost(y) == pytest.approx(whole.cost(y), rel=1e-5)


def exact_cost(graph: Graph, y: Tensor) -> Tensor:
    """KL(P‖Q) as it is defined, over all pairs."""
    n = y.shape[1]
    w = 1 / (1 + (y.unsqueeze(2) - y.unsqueeze(1)).square().sum(0))
    q = (w - torch.eye(n)) / (w.sum() - n)
    some = graph.weights > 0
    i, j, p = graph.rows[some].long(), graph.columns[some].long(), graph.weights[some].double()
    return (p * (p / q[i, j]).log()).sum()
