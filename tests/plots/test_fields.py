from types import SimpleNamespace

import numpy as np
import torch

from gentool.batch import Batch
from gentool.plots.fields import density_field, draw_field, draw_fields
from tests.metrics.models import Normal
from tests.spaces import space

CPU = torch.device("cpu")


def normal(mean):
    return torch.distributions.MultivariateNormal(torch.tensor(mean), torch.eye(len(mean)))


def test_a_density_has_its_mass_and_its_peak_where_it_is():
    field = density_field(normal([1.0, -2.0]).log_prob, [(-5.0, 7.0), (-8.0, 4.0)], 60, CPU)
    assert abs(field.mass - 1) < 1e-4
    assert torch.allclose(field.points[field.log_prob.argmax()], torch.tensor([1.0, -2.0]), atol=0.11)
    assert torch.allclose(field.points.mean(0), torch.tensor([1.0, -2.0]), atol=1e-4)  # middles of the cells
    line = density_field(normal([0.5]).log_prob, [(-5.0, 6.0)], 200, CPU)
    assert line.points.shape == (200, 1) and abs(line.mass - 1) < 1e-4


def test_up_is_up_in_the_picture():
    field = density_field(normal([0.0, 3.0]).log_prob, [(-5.0, 5.0), (-5.0, 5.0)], 40, CPU)
    pixels = draw_field(field, None, title="t").astype(float)
    red = pixels[:, : pixels.shape[1] * 3 // 4, 0] * (pixels[:, : pixels.shape[1] * 3 // 4].min(axis=2) < 200)
    rows = np.nonzero(red > 230)[0]
    assert len(rows) and rows.mean() < pixels.shape[0] / 2


def test_the_loop_draws_fields_of_points_only():
    class Split:
        def __len__(self):
            return 20

        def batch(self, index, noise):
            return Batch(torch.randn(len(index), 2), None, index)

    points = SimpleNamespace(space=space((2,)), train=Split())
    assert draw_fields(Normal(points.space), points)["field"].shape[2] == 3
    assert draw_fields(Normal(space((1, 4, 4), levels=2)), SimpleNamespace(space=space((1, 4, 4), levels=2))) == {}
    model = Normal(points.space)
    model.fields = lambda: {"energy": lambda x: x.square().sum(1), "score at sigma 0.5": lambda x: -x}
    with torch.no_grad():  # as the loop calls it
        assert list(draw_fields(model, points)) == ["field_energy", "field_score_at_sigma_0.5"]


def test_the_truth_stands_beside_the_model():
    field = density_field(normal([0.0, 0.0]).log_prob, [(-4.0, 4.0)] * 2, 20, CPU)
    alone, both = draw_field(field, torch.zeros(3, 2), title="t"), draw_field(field, None, title="t", truth=field)
    assert both.shape[1] > 1.5 * alone.shape[1]
