"""The causal transformer: the laws of its caches and its mask, and the faults they are for."""

import pytest
import torch
from torch.nn import functional

from gentool.errors import UsageError
from gentool.nn import transformer as module
from gentool.nn.sequence import raster
from gentool.nn.transformer import Transformer, transformer
from gentool.nn.transformer_cache import FEW, _gelu
from tests.laws import autoregressive_laws as laws
from tests.laws.subjects import Subject
from tests.spaces import space

SUBJECTS = [Subject("transformer", data, 20) for data in ("words", "binary", "points")]
CLASSES = Subject("transformer", "words", 20, ("model.conditional=true",))
attention = functional.scaled_dot_product_attention


def hold(subject):
    laws.outputs_see_what_is_before_them_alone(subject.model(), subject.batch(1))
    laws.cached_equals_naive(subject.model(), subject.batch(3))


@pytest.mark.parametrize("subject", [*SUBJECTS, CLASSES], ids=str)
def test_laws_hold(subject):
    hold(subject)


def _mask(diagonal):
    def faulty(q, k, v):
        mask = torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool).tril(diagonal)
        return attention(q, k, v, attn_mask=mask)

    return faulty


def test_a_mask_off_by_one_is_caught(monkeypatch):
    monkeypatch.setattr(module, "_causal", _mask(1))
    with pytest.raises(AssertionError, match="later one"):
        laws.outputs_see_what_is_before_them_alone(SUBJECTS[0].model(), SUBJECTS[0].batch(1))


def test_a_mask_that_hides_too_much_is_caught(monkeypatch):
    monkeypatch.setattr(module, "_causal", lambda q, k, v: _mask(0)(q, k.roll(1, 2), v.roll(1, 2)))
    with pytest.raises(AssertionError):
        hold(SUBJECTS[0])


def _late_position(step):
    return lambda self, state, i, x_prev: step(self, state, max(i - 1, 0), x_prev)


def _same_position(step):
    def faulty(self, state, i, x_prev):
        kept = self.position.data
        self.position.data = kept.roll(-1, 0)
        out = step(self, state, i, x_prev)
        self.position.data = kept
        return out

    return faulty


@pytest.mark.parametrize("fault", [_late_position, _same_position], ids=["place in the cache", "position"])
def test_a_cache_off_by_one_is_caught(monkeypatch, fault):
    model = SUBJECTS[0].model()
    monkeypatch.setattr(Transformer, "step", fault(Transformer.step))
    with pytest.raises(AssertionError):
        laws.cached_equals_naive(model, SUBJECTS[0].batch(3))


def test_bf16_attention_on_the_cpu_is_that_of_fp32():
    q, k, v = torch.randn(3, 2, 4, 7, 8)
    exact = module._causal(q, k, v)
    with torch.autocast("cpu", torch.bfloat16):
        half = module._causal(q.bfloat16(), k.bfloat16(), v.bfloat16())
    torch.testing.assert_close(half, exact, atol=0.03, rtol=0.03)
    assert half.dtype == torch.float32


def test_the_branches_start_small_and_the_outputs_near_nothing():
    net = transformer(
        space((32,), levels=9, vocabulary=tuple("abcdefghi")), 9, 0, layers=8, heads=2, features=32, dropout=0.0
    )
    body = net.body
    assert body.blocks[0].mix.weight.std().item() == pytest.approx(0.02 / 4, rel=0.15)
    assert body.blocks[0].read.weight.std().item() == pytest.approx(0.02, rel=0.15)
    assert net(torch.zeros(2, 32, dtype=torch.int64), None).abs().max() < 0.5


def test_dropout_is_of_training_alone():
    where = space((6,), levels=4, vocabulary=tuple("abcd"))
    net = transformer(where, 4, 0, layers=1, heads=2, features=16, dropout=0.5)
    x = torch.zeros(1, 6, dtype=torch.int64)
    assert not torch.equal(net(x, None), net(x, None))
    net.eval()
    assert torch.equal(net(x, None), net(x, None))


def test_pixels_come_row_by_row_and_channels_together():
    order = raster(space((3, 2, 2), levels=4))
    assert order.tolist() == [0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11]


def test_heads_that_do_not_divide_are_refused():
    with pytest.raises(UsageError, match="heads=3"):
        transformer(space((6,), levels=4), 4, 0, layers=1, heads=3, features=16, dropout=0.0)


@pytest.mark.parametrize("numbers", [1, FEW, FEW + 1])
def test_gelu_of_few_numbers_is_the_same_and_leaves_the_switch_as_it_was(numbers):
    x = torch.linspace(-6, 6, numbers)
    torch.testing.assert_close(_gelu(x), functional.gelu(x))
    assert torch.backends.mkldnn.enabled == torch.backends.mkldnn.is_available()
