"""Neural spline flows in both forms."""

import pytest
import torch

from tests.laws import exact_laws, flow_laws
from tests.laws.subjects import build, endless, examples, train

COUPLING = "model.transform.kind=coupling"


def coupling(data: str):
    return train("nsf", build("nsf", data, COUPLING), endless(data), 20, lr=1e-2).eval()


@pytest.mark.parametrize("data", ["points", "grey"])
@pytest.mark.parametrize(
    "law",
    [
        flow_laws.decodes_what_it_encodes,
        flow_laws.log_det_is_the_jacobians,
        flow_laws.inverse_has_minus_the_log_det,
    ],
    ids=lambda law: law.__name__,
)
def test_couplings_are_invertible(data, law):
    law(coupling(data), examples(data, 6))


def test_couplings_have_a_density():
    exact_laws.integrates_to_one(coupling("points"))


def test_a_block_of_couplings_moves_everything():
    model = coupling("points")
    x = examples("points", 8).x
    z = model.encode(x)
    for dim in range(2):
        moved = x.clone()
        moved[:, dim] += 0.3
        assert not torch.isclose(model.encode(moved), z).all(0).any(), "a dimension of z does not depend on x"
