"""Solvers against closed forms: their order, their evaluations, their volumes, and that examples stay alone."""

from math import exp, log2, pi, sin

import pytest
import torch

from gentool.errors import RunError
from gentool.probability import ode
from gentool.probability.ode import draw_probes, integrate, integrate_with_log_det, trajectory

EQUAL = {"euler": 1, "heun": 2, "rk4": 4}
ROTATION = torch.tensor([[0.0, -1.0], [1.0, 0.0]], dtype=torch.float64)


def start(n: int = 3, dims: int = 2) -> torch.Tensor:
    return torch.randn(n, dims, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def growing(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """dx/dt = x cos t, so x(t) = x(0) exp(sin t)."""
    return x * t.cos()[:, None]


def error(method: str, steps: int) -> float:
    x, _ = integrate(growing, start(), 0.0, 1.0, method=method, steps=steps, tolerance=1.0)
    return (x - start() * exp(sin(1.0))).abs().max().item()


@pytest.mark.parametrize(("method", "order"), EQUAL.items())
def test_error_falls_with_the_order(method, order):
    assert log2(error(method, 20) / error(method, 40)) == pytest.approx(order, abs=0.25)


def test_order_is_lost_where_a_weight_is_wrong(monkeypatch):
    wrong = ode.TABLEAUS["rk4"]._replace(weights=(1 / 6, 1 / 3, 1 / 2, 0))
    monkeypatch.setitem(ode.TABLEAUS, "rk4", wrong)
    assert log2(error("rk4", 20) / error("rk4", 40)) < 3


@pytest.mark.parametrize("method", ode.TABLEAUS)
def test_tableaus_are_consistent(method):
    table = ode.TABLEAUS[method]
    assert sum(table.weights) == pytest.approx(1)
    assert sum(table.error) == pytest.approx(0)
    assert [sum(row) for row in table.matrix] == pytest.approx(table.nodes)


@pytest.mark.parametrize("tolerance", [1e-3, 1e-6, 1e-9])
def test_adaptive_steps_keep_the_tolerance(tolerance):
    x, evaluations = integrate(growing, start(), 0.0, 2.0, method="dopri5", steps=1, tolerance=tolerance)
    assert (x - start() * exp(sin(2.0))).abs().max() < 30 * tolerance
    assert evaluations < 60 * tolerance**-0.2


def test_adaptive_error_is_of_order_five():
    """Halving the step divides what one step of Dormand and Prince leaves by 2^6: its weights are right."""
    table = ode.TABLEAUS["dopri5"]

    def one(h: float) -> float:
        x, t = start(), torch.zeros(3, dtype=torch.float64)
        stages = ode._stages(table, growing, x, t, torch.full_like(t, h), growing(x, t))
        moved = ode._moved(x, torch.full_like(t, h), table.weights, stages)
        return (moved - x * exp(sin(h))).abs().max().item()

    assert log2(one(0.4) / one(0.2)) == pytest.approx(6, abs=0.7)


@pytest.mark.parametrize("method", ode.TABLEAUS)
def test_evaluations_are_counted(method):
    calls = 0

    def counting(x, t):
        nonlocal calls
        calls += 1
        return growing(x, t)

    evaluations = integrate(counting, start(), 0.0, 1.0, method=method, steps=7, tolerance=1e-4)[1]
    assert evaluations == calls
    assert method == "dopri5" or calls == 7 * len(ode.TABLEAUS[method].nodes)


@pytest.mark.parametrize("method", ode.TABLEAUS)
def test_backwards_undoes_forwards(method):
    kwargs = {"method": method, "steps": 1000, "tolerance": 1e-8}
    there, _ = integrate(growing, start(), 0.0, 1.0, **kwargs)
    back, _ = integrate(growing, there, 1.0, 0.0, **kwargs)
    torch.testing.assert_close(back, start(), rtol=0, atol=2e-3 if method == "euler" else 1e-6)


def test_each_example_chooses_its_own_steps():
    """A stiff neighbour changes nothing, not even the last bit."""

    def stiff(x, t):
        return -x.square() * (1 + t[:, None])

    easy, hard = start(2).abs(), 1000 + start(2).abs()
    kwargs = {"method": "dopri5", "steps": 1, "tolerance": 1e-6}
    alone = integrate(stiff, easy, 0.0, 1.0, **kwargs)
    both = integrate(stiff, torch.cat([easy, hard]), 0.0, 1.0, **kwargs)
    assert torch.equal(both[0][:2], alone[0])
    assert both[1] > alone[1]


def test_trajectory_ends_at_the_solution():
    kwargs = {"method": "dopri5", "steps": 1, "tolerance": 1e-5}
    *_, last = trajectory(growing, start(), 0.0, 1.0, **kwargs)
    assert torch.equal(last.x, integrate(growing, start(), 0.0, 1.0, **kwargs)[0])


def test_what_never_arrives_is_refused(monkeypatch):
    monkeypatch.setattr(ode, "LIMIT", 20)
    with pytest.raises(RunError, match="tolerance"):
        integrate(lambda x, t: x.square(), torch.ones(1, 1), 0.0, 2.0, method="dopri5", steps=1, tolerance=1e-6)


@pytest.mark.parametrize("method", ["rk4", "dopri5"])
@pytest.mark.parametrize("exact", [True, False])
def test_log_det_of_a_linear_field_is_its_trace(method, exact):
    """dx/dt = A x has log |det| = tr A; Hutchinson's signs are exact where A is diagonal but for a rotation."""
    a = torch.diag(torch.tensor([0.5, -1.5], dtype=torch.float64)) + ROTATION
    probes = None if exact else torch.tensor([[1.0, 1.0], [1.0, -1.0]], dtype=torch.float64)[:, None].expand(2, 3, 2)
    x, log_det, _ = integrate_with_log_det(
        lambda x, t: x @ a.T, start(), 0.0, 1.0, method=method, steps=50, tolerance=1e-9, probes=probes
    )
    torch.testing.assert_close(x, start() @ torch.linalg.matrix_exp(a).T, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(log_det, torch.full((3,), -1.0, dtype=torch.float64), rtol=1e-6, atol=1e-6)


def test_log_det_is_the_jacobians():
    def field(x, t):
        return (x @ ROTATION.T * 2).sin() * (1 + t[:, None]) + 0.3 * x

    kwargs = {"method": "dopri5", "steps": 1, "tolerance": 1e-9}

    def flow(x):
        return integrate(field, x[None], 0.0, 1.0, **kwargs)[0][0]

    x = start(2)
    _, log_det, _ = integrate_with_log_det(field, x, 0.0, 1.0, probes=None, **kwargs)
    jacobians = torch.stack([torch.autograd.functional.jacobian(flow, row) for row in x])
    torch.testing.assert_close(log_det, torch.linalg.slogdet(jacobians)[1], rtol=1e-5, atol=1e-5)


def test_probes_estimate_the_trace_without_bias():
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(20, 20, generator=generator)
    x = torch.randn(2, 20, generator=generator)
    torch.manual_seed(0)
    probes = draw_probes(x, 4000)
    assert probes is not None and set(probes.unique().tolist()) == {-1.0, 1.0}
    _, divergence = ode._with_divergence(lambda x, t: x @ a.T, x, torch.zeros(2), probes)
    spread = (2 * ((a + a.T) / 2).fill_diagonal_(0).square().sum() / 4000).sqrt()
    assert (divergence - a.trace()).abs().max() < 5 * spread


def test_few_dimensions_need_no_probes():
    assert draw_probes(torch.zeros(3, 2), 5) is None
    assert draw_probes(torch.zeros(3, 1, 8, 8), 5).shape == (5, 3, 1, 8, 8)


def test_a_field_without_x_has_no_divergence():
    x, log_det, _ = integrate_with_log_det(
        lambda x, t: torch.full_like(x, pi).detach(),
        start(),
        0.0,
        1.0,
        method="euler",
        steps=2,
        tolerance=1,
        probes=None,
    )
    torch.testing.assert_close(x, start() + pi)
    assert not log_det.any()
