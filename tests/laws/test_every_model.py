"""Laws of every model, over every file of configs/model."""

import pytest

from gentool.errors import UsageError
from gentool.training.rng import fork
from tests.laws import laws
from tests.laws.subjects import MODELS, SPACES, TINY, build, endless, examples, minimizer, subjects, train

every = pytest.mark.parametrize("subject", subjects(), ids=str)


@pytest.mark.parametrize("name", MODELS)
def test_has_small_sizes(name):
    assert name in TINY, f"configs/model/{name}.yaml needs tests/tiny/{name}.yaml"


@pytest.mark.parametrize(("name", "data"), [(m, d) for m in MODELS for d in TINY.get(m, {}).get("refused", {})])
def test_refuses_data_that_does_not_fit(name, data):
    with pytest.raises(UsageError, match=TINY[name]["refused"][data]):
        build(name, data)


@every
@pytest.mark.parametrize(
    "law",
    [
        laws.samples_lie_in_the_space,
        laws.pictures_lie_in_the_space,
        laws.same_seed_same_sample,
        laws.players_partition_the_parameters,
    ],
    ids=lambda law: law.__name__,
)
def test_sampling(subject, law):
    law(subject.model())


@every
def test_looking_changes_nothing(subject):
    laws.looking_changes_nothing(subject.model(), subject.batch())
    laws.looking_changes_nothing(subject.model().train(), subject.batch())


@every
@pytest.mark.parametrize(
    "law", [laws.each_turn_moves_its_own_player, laws.every_parameter_learns], ids=lambda law: law.__name__
)
def test_training(subject, law):
    model = subject.model()
    with fork(0):
        law(model, endless(subject.data), lambda kind: minimizer(subject.name, model, 10, kind))


@pytest.mark.parametrize(
    "subject", [s for s in subjects(having="log_prob") if s.steps and SPACES[s.data].levels], ids=str
)
def test_bits_are_nats(subject):
    model = subject.model()
    with fork(0):
        metrics = model.train().train_step(endless(subject.data), minimizer(subject.name, model, 10))
    laws.bits_are_nats(model, subject.batch(), metrics)


@every
def test_examples_do_not_see_each_other(subject):
    laws.examples_do_not_see_each_other(subject.model(), subject.batch(), subject.batch(seed=2000))


@every
def test_saving_and_loading_keeps_samples(subject):
    def rebuild(space):
        other = build(subject.name, subject.data, *subject.overrides, seed=99)
        other.space = space
        return other

    laws.saving_and_loading_keeps_samples(subject.model(), rebuild)


@every
def test_objective_is_the_training_loss(subject):
    model = subject.model()
    if model.objective(subject.batch()) is None:
        pytest.skip("has no objective")
    if "new_examples" in TINY[subject.name]:
        pytest.skip("what is new to the model has no row of its own: held in a test of its own")
    laws.objective_is_the_training_loss(model, subject.batch())


@pytest.mark.parametrize(
    ("name", "data"), [(name, data) for name in MODELS for data in TINY.get(name, {}).get("overfits", {})]
)
def test_overfits_one_batch(name, data):
    batch = examples(data, distinct=4)
    with fork(0):
        model = build(name, data)
        train(name, model, iter(lambda: batch, None), TINY[name]["steps"], lr=1e-2)
    laws.objective_reaches(model.eval(), batch, TINY[name]["overfits"][data])
