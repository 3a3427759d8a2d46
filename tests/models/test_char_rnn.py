"""The recurrent network: the laws of its state, and the faults they are for."""

import pytest
import torch

from gentool.nn.recurrent import Recurrent, recurrent
from gentool.nn.sequence import Sequence
from tests.laws import autoregressive_laws as laws
from tests.laws.subjects import Subject
from tests.spaces import space

SUBJECTS = [
    Subject("char_rnn", "words", 20),
    Subject("char_rnn", "binary", 20, ("model.network.kind=gru", "model.network.layers=2")),
    Subject("char_rnn", "points", 20),
    Subject("char_rnn", "words", 20, ("model.conditional=true",)),
]


@pytest.mark.parametrize("subject", SUBJECTS, ids=str)
def test_laws_hold(subject):
    laws.outputs_see_what_is_before_them_alone(subject.model(), subject.batch(1))
    laws.cached_equals_naive(subject.model(), subject.batch(3))


def _forgets(step):
    def faulty(self, state, i, x_prev):
        state.state = None
        return step(self, state, i, x_prev)

    return faulty


def test_a_state_that_is_lost_is_caught(monkeypatch):
    model = SUBJECTS[0].model()
    monkeypatch.setattr(Recurrent, "step", _forgets(Recurrent.step))
    with pytest.raises(AssertionError):
        laws.cached_equals_naive(model, SUBJECTS[0].batch(3))


def test_inputs_that_are_not_shifted_are_caught(monkeypatch):
    def unshifted(self, x, y):
        return self._embedded(x.flatten(1)[:, self.order]) + self.labels(y).unsqueeze(-2)

    monkeypatch.setattr(Sequence, "inputs", unshifted)
    with pytest.raises(AssertionError, match="later one"):
        laws.outputs_see_what_is_before_them_alone(SUBJECTS[0].model(), SUBJECTS[0].batch(1))


def test_forget_gates_start_open():
    where = space((6,), levels=4, vocabulary=tuple("abcd"))
    words = {"layers": 2, "embedding_features": 8, "hidden_features": 5, "dropout": 0.0}
    cells = recurrent(where, 4, 0, kind="lstm", **words).body.cells
    for layer in range(2):
        assert (getattr(cells, f"bias_ih_l{layer}")[5:10] == 1).all()
    assert recurrent(where, 4, 0, kind="gru", **words).body.cells.bias_ih_l0.abs().max() < 0.5


def test_dropout_is_of_training_alone():
    where = space((6,), levels=4, vocabulary=tuple("abcd"))
    net = recurrent(where, 4, 0, kind="lstm", layers=1, embedding_features=8, hidden_features=8, dropout=0.5)
    torch.nn.init.ones_(net.body.head.weight)
    x = torch.zeros(1, 6, dtype=torch.int64)
    assert not torch.equal(net(x, None), net(x, None))
    net.eval()
    assert torch.equal(net(x, None), net(x, None))
