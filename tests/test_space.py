"""The public space of x: to and from model space, and what it refuses."""

from dataclasses import replace

import pytest
import torch

from gentool.space import DataSpace
from tests.spaces import space


@pytest.mark.parametrize("levels", [None, 2, 17, 256])
@pytest.mark.parametrize("dtype", [torch.float32, torch.uint8])
def test_maps_leave_their_input_alone(levels, dtype):
    where = space((3,), levels, loc=1.0, scale=2.0)
    x = torch.tensor([[0, 1, 1]], dtype=dtype)
    for map_ in (where.to_model, where.standardise, where.to_data, where.quantise):
        map_(x)
        assert x.tolist() == [[0, 1, 1]], map_.__name__


@pytest.mark.parametrize("levels", [2, 17, 256])
def test_to_data_inverts_to_model_on_every_level(levels):
    where = space((1,), levels)
    x = torch.arange(levels).unsqueeze(1)
    z = where.to_model(x)
    assert z.min() == -1
    assert z.max() == 1
    assert torch.equal(where.quantise(where.to_data(z)), x.to(where.dtype))


def test_reals_are_standardised():
    where = space((2,), None, loc=3.0, scale=0.5)
    assert where.to_model(torch.tensor([[3.0, 4.0]])).tolist() == [[0.0, 2.0]]
    assert where.to_data(torch.tensor([[0.0, 2.0]])).tolist() == [[3.0, 4.0]]


@pytest.mark.parametrize(
    ("levels", "x", "message"),
    [
        (2, [[0.0, 1.0], [0.0, 3.0]], "example 1: 3.0 lies outside 0..1"),
        (2, [[0.0, 0.5]], "example 0: 0.5 is no level; expected the integers 0..1, no fractions"),
        (2, [[0.0, 1.0], [float("nan"), 0.0]], "example 1: nan is no level"),
        (None, [[0.0, 1.0], [float("nan"), 0.0]], "example 1: nan is not finite"),
        (2, [[0.0, 1.0, 1.0]], r"shape \(3,\); expected \(2,\)"),
    ],
)
def test_check_names_the_first_offender(levels, x, message):
    with pytest.raises(ValueError, match=message):
        space((2,), levels).check(torch.tensor(x))


def test_state_goes_round():
    where = space((2,), 17, classes=3, vocabulary=("a", "b"))
    again = type(where).from_state(where.state())
    assert again.shape == (2,)
    assert again.vocabulary == ("a", "b")
    assert torch.equal(again.frequencies, where.frequencies)


def test_classes_are_found_by_number_and_by_name():
    named = replace(space((2,), classes=3), class_names=("cat", "dog", "red_disc"))
    assert [named.class_number(label) for label in (0, "2", "dog", "red_disc")] == [0, 2, 1, 2]
    assert DataSpace.from_state(named.state()).class_names == named.class_names
    with pytest.raises(ValueError, match=r"no class 'dgo'; expected a number in 0..2 or a name: did you mean 'dog'"):
        named.class_number("dgo")
    with pytest.raises(ValueError, match=r"no class 3; expected a number in 0..2"):
        named.class_number(3)
    with pytest.raises(ValueError, match="has no classes"):
        space((2,)).class_number(0)


def test_a_state_of_format_1_has_no_class_names():
    state = space((2,), classes=3).state()
    del state["class_names"]
    assert DataSpace.from_state(state).class_names == ()
