"""Pictures of codes: shares of components are told from other codes, and own their points."""

import torch

from gentool.plots.latent import are_shares, draw_owners
from tests.spaces import space


def test_shares_are_told_from_other_codes():
    shares = torch.tensor([[0.2, 0.8], [1.0, 0.0]])
    assert are_shares(shares)
    assert not are_shares(shares - 0.1) and not are_shares(shares * 1.1)
    assert not are_shares(torch.tensor([[1.5, -0.5]])), "sums to 1, but is negative"
    assert not are_shares(torch.ones(3, 1)) and not are_shares(torch.ones(2, 1, 1))


def test_points_take_the_colour_of_their_component():
    x = torch.randn(50, 2)
    first = draw_owners(x, torch.tensor([[0.9, 0.1]]).expand(50, 2), space((2,)), title="a")
    second = draw_owners(x, torch.tensor([[0.1, 0.9]]).expand(50, 2), space((2,)), title="a")
    assert first.shape == second.shape and first.shape[2] == 3 and (first != second).any()
