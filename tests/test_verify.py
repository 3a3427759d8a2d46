"""`verify` on every family: its laws hold on sound models, and each names the fault that is planted."""

import copy

import pytest

from gentool.laws import LAWS, Subject as Tried
from gentool.laws import examples, verify
from tests.laws.subjects import TINY, Subject, build, subjects


def tried(subject, model=None):
    model = subject.model() if model is None else model
    return Tried(model, examples(model, 8, 0), lambda: build(subject.name, subject.data, *subject.overrides, seed=9))


def broken(subject, model=None):
    return {v.law: v.detail for v in verify(tried(subject, model)) if v.result == "broken"}


TRAINED = [s for s in subjects() if s.steps] + [s for s in subjects("conditional") if s.steps]


@pytest.mark.parametrize("subject", TRAINED, ids=str)
def test_every_law_holds_of_every_model(subject):
    assert not broken(subject)
