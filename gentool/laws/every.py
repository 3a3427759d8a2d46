"""Laws of every model: what it draws, what it leaves alone, what it keeps."""

import io
import random
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from gentool.batch import Batch
from gentool.laws.subject import Subject, gap, hold
from gentool.models.base import HasLikelihood, Reconstructs
from gentool.training.rng import fork


def samples_lie_in_the_space(subject: Subject) -> str:
    """Sampling n gives n finite examples of the space's shape, dtype and levels."""
    model, space = subject.model, subject.model.space
    for n in (1, len(subject.batch.x)):
        with fork(0), torch.no_grad():
            x = model.sample(n)
        hold(tuple(x.shape) == (n, *space.shape), f"sample({n}) has shape {tuple(x.shape)}, not {(n, *space.shape)}")
        hold(x.dtype == space.dtype, f"samples are {x.dtype}, not {space.dtype}")
        try:
            space.check(x)
        except ValueError as error:
            hold(False, str(error))
    kind = "real" if space.levels is None else f"integers 0..{space.levels - 1}"
    return f"{n} of shape {tuple(space.shape)}, {kind}"


def same_seed_same_samples(subject: Subject) -> str:
    """The same seed gives the same samples, bit for bit, and another seed others."""
    draws = []
    for seed in (3, 3, 4):
        with fork(seed), torch.no_grad():
            draws.append(subject.model.sample(4))
    hold(torch.equal(draws[0], draws[1]), f"the same seed gave others, by {gap(draws[0], draws[1]):.3g}")
    hold(not torch.equal(draws[0], draws[2]), "another seed gave the same")
    return "bit for bit"


def looking_changes_nothing(subject: Subject) -> str:
    """Sampling and evaluating under a fork leave weights, buffers, mode, gradients and random states as they were."""
    model, batch = subject.model, subject.batch
    before = {name: value.clone() for name, value in model.state_dict().items()}
    mode, states = model.training, _random_states()
    with fork(7, 1), torch.no_grad():
        model.sample(3)
        model.picture(3)
        model.objective(batch)
        if isinstance(model, HasLikelihood):
            model.log_prob(batch.x, batch.y, draws=2)
        if isinstance(model, Reconstructs):
            model.reconstruct(batch.x, batch.y)
    for name, value in model.state_dict().items():
        hold(torch.equal(value, before[name]), f"{name} changed")
    hold(_random_states() == states, "a random state changed")
    hold(model.training == mode, "the mode changed")
    hold(all(p.grad is None for p in model.parameters()), "gradients were left behind")
    return f"{len(before)} tensors, 3 random states"


def _random_states() -> tuple[object, ...]:
    return random.getstate(), np.random.get_state()[1].tobytes(), torch.get_rng_state().numpy().tobytes()  # type: ignore[index]


def saving_and_loading_keeps_the_samples(subject: Subject) -> str:
    """A model rebuilt from its saved state draws the same samples, bit for bit: nothing lives outside of it."""
    model, file = subject.model, io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    other = subject.rebuild()
    other.load_state_dict(torch.load(file, weights_only=True))
    other.eval()
    draws = []
    for each in (model, other):
        with fork(2), torch.no_grad():
            draws.append(each.sample(6))
    hold(torch.equal(draws[0], draws[1]), f"the loaded model's differ by {gap(draws[0], draws[1]):.3g}")
    return f"{file.tell():,} bytes"


def examples_do_not_see_each_other(subject: Subject) -> str:
    """The objective and log p of an example do not depend on the others in its batch."""
    model, batch = subject.model, subject.batch
    half = len(batch.x) // 2

    def turned(t: Tensor | None) -> Tensor | None:
        return None if t is None else torch.cat([t[:half], t[half:].flip(0)[: len(t) - half - 1], t[:1]])

    others = Batch(turned(batch.x), turned(batch.y), turned(batch.index))  # type: ignore[arg-type]
    measures: dict[str, Callable[[Batch], Tensor | None]] = {"the objective": model.objective}
    if isinstance(model, HasLikelihood):
        measures["log p"] = lambda b: model.log_prob(b.x, b.y, draws=3)
    said = []
    for name, measure in measures.items():
        values = []
        for each in (batch, others):
            with fork(0), torch.no_grad():
                values.append(measure(each))
        a, b = values
        if a is None or b is None:
            continue
        hold(a.shape == (len(batch.x),), f"{name}: one number an example is expected, not {tuple(a.shape)}")
        off = gap(a[:half], b[:half])
        allowed = 1e-5 * (1 + float(a[:half].abs().max()))
        hold(off <= allowed, f"{name} moves by {off:.3g} with the rest of the batch; allowed {allowed:.1g}")
        said.append(f"{name} moves by {off:.1g}")
    return "; ".join(said) or "no objective, no log p"
