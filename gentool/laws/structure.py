"""Laws of how models are made: codes, changes of volume, conditionals in an order, mixtures, energies."""

import torch
from torch import Tensor

from gentool.laws.subject import Subject, Untried, gap, hold
from gentool.models.base import Completes, Decodes, Encodes, GenerativeModel, HasFields, HasLikelihood, Reconstructs
from gentool.models.claims import Factorises, Inverts, Mixes
from gentool.training.rng import fork

JACOBIAN = 64  # dimensions up to which it is taken by autograd; beyond, by central differences
LARGEST = 1100  # dimensions beyond which it is out of reach
CHANGED = 64  # dimensions that are changed to see what moves
ROWS = 64  # examples a pass


def decoding_is_a_function(subject: Subject) -> str:
    """decode(z) is finite, has the data's shape, is the same twice, and does not depend on the batch."""
    model = subject.model
    assert isinstance(model, Decodes)
    with fork(30), torch.no_grad():
        z = model.sample_latent(6)
        y = model.labels(6, None)
        x = model.decode(z, y)
        again = model.decode(z, y)
        alone = torch.cat([model.decode(z[i : i + 1], None if y is None else y[i : i + 1]) for i in range(6)])
    hold(len(z) == 6 and torch.isfinite(z.double()).all(), "sample_latent(6) is not 6 finite codes")
    hold(tuple(x.shape) == (6, *model.space.shape), f"decode gives {tuple(x.shape)}")
    hold(x.is_floating_point() and torch.isfinite(x).all(), "decode is not finite")
    hold(torch.equal(x, again), "decode gives something else the second time")
    off, allowed = gap(x, alone), 1e-3 * (1 + float(x.abs().max()))
    hold(off <= allowed, f"decode depends on the batch, by {off:.3g}")
    return f"codes of shape {tuple(z.shape[1:])}; alone and in a batch within {off:.1g}"


def reconstructions_are_decoded_codes(subject: Subject) -> str:
    """reconstruct(x) = decode(encode(x))."""
    model, (x, y, _) = subject.model, subject.batch
    assert isinstance(model, Encodes) and isinstance(model, Reconstructs)
    with torch.no_grad():
        with fork(31):
            made = model.decode(model.encode(x, y), y)
        with fork(31):
            off = gap(model.reconstruct(x, y), made)
    allowed = 1e-4 * (1 + float(made.abs().max()))
    hold(off <= allowed, f"they differ by {off:.3g}")
    return f"within {off:.1g}"


def decoding_inverts_encoding(subject: Subject) -> str:
    """decode(encode(x)) = x, in double precision."""
    model, (x, y, _) = subject.double(), subject.few(4)
    assert isinstance(model, Inverts)
    x = x.double()
    with torch.no_grad():
        off = gap(model.decode(model.encode(x, y), y), x)
    scale = float(model.space.scale.max())
    hold(off <= 1e-4 * scale, f"it is {off:.3g} off, of data of scale {scale:.3g}")
    return f"{off:.1g} off, of data of scale {scale:.3g}"


def log_det_is_the_jacobians(subject: Subject) -> str:
    """The log-determinant is log |det dz/dx| of the Jacobian itself; of reals log p(x) = log p(z) + log_det."""
    model, batch = subject.double(), subject.few(2)
    assert isinstance(model, Inverts)
    dims = model.space.dims
    if dims > LARGEST:
        raise Untried(f"a Jacobian of {dims} x {dims} is out of reach")
    x = batch.x.double()
    with torch.no_grad():
        z, stated = model.encode_and_log_det(x, batch.y)
    way = _by_autograd if dims <= JACOBIAN else _by_differences
    found = torch.stack([torch.linalg.slogdet(way(model, x, batch.y, i))[1] for i in range(len(x))])
    off = gap(stated, found)
    # Differences across a kink of a ReLU are off, and fp32 constants of the space are: both far less than a wrong term.
    allowed = (1e-5 if dims <= JACOBIAN else 1e-3) * (dims + float(found.abs().max()))
    hold(off <= allowed, f"it is {off:.4g} nats off slogdet of the Jacobian ({float(stated[0]):.6g}, {found[0]:.6g})")
    said = f"{off:.1g} nats off slogdet, {dims} x {dims} by {'autograd' if dims <= JACOBIAN else 'differences'}"
    if isinstance(model, HasLikelihood) and model.likelihood == "exact":
        with torch.no_grad():
            less = gap(model.log_prob(x, batch.y), model.latent_log_prob(z) + stated)
        hold(less <= allowed, f"log p(x) is {less:.4g} nats off log p(z) + log_det")
    return said


def _by_autograd(model: Inverts, x: Tensor, y: Tensor | None, i: int) -> Tensor:
    label = None if y is None else y[i : i + 1]
    with torch.enable_grad():
        found: Tensor = torch.autograd.functional.jacobian(  # type: ignore[no-untyped-call]
            lambda one: model.encode_and_log_det(one[None], label)[0][0], x[i], vectorize=True
        )
    return found.reshape(-1, x[i].numel())


def _by_differences(model: Inverts, x: Tensor, y: Tensor | None, i: int) -> Tensor:
    step, dims = 1e-6 * float(x.abs().max() + 1), x[i].numel()
    columns = []
    for dim in torch.split(torch.arange(dims), ROWS):
        moved = x[i].flatten().repeat(2 * len(dim), 1)
        rows = torch.arange(len(dim))
        moved[rows, dim] += step
        moved[rows + len(dim), dim] -= step
        label = None if y is None else y[i].expand(len(moved))
        with torch.no_grad():
            z = model.encode_and_log_det(moved.view(-1, *x.shape[1:]), label)[0]
        columns.append((z[: len(dim)] - z[len(dim) :]) / (2 * step))
    return torch.cat(columns).T


def outputs_see_what_is_before_them_alone(subject: Subject) -> str:
    """A change of one dimension moves no output of it or of an earlier one: the Jacobian is a strict triangle."""
    model, (x, y, _) = subject.double(), subject.few(1)
    assert isinstance(model, Factorises)
    order, space = model.order.tolist(), model.space
    hold(sorted(order) == list(range(space.dims)), "the order is no permutation of the dimensions")
    places = torch.linspace(0, space.dims - 1, min(CHANGED, space.dims)).round().long()
    changed = x.flatten(1).repeat(len(places) + 1, 1)
    for row, place in enumerate(places.tolist()):
        value = changed[row, order[place]]
        changed[row, order[place]] = value + 1 if space.levels is None else (value.long() + 1) % space.levels
    out = torch.cat(
        [
            model.outputs(part, None if y is None else y.expand(len(part)))
            for part in torch.split(changed.view(-1, *space.shape), ROWS)
        ]
    )
    moved = (out - out[-1]).abs().flatten(2).amax(1)[:-1, order]  # [i, j]: of the j-th by a change of the i-th
    later = torch.arange(space.dims, device=moved.device) > places.to(moved.device)[:, None]
    leak = moved.masked_fill(later, 0)
    row = int(leak.amax(1).argmax())
    hold(leak.max() < 1e-9, f"a change of dimension {order[places[row]]} moves an earlier one, by {leak.max():.2g}")
    hold(space.dims == 1 or moved.max() > 0, "no output depends on any dimension")
    return f"{len(places)} of {space.dims} dimensions changed, leaks at most {float(leak.max()):.1g}"


def caches_change_no_sample(subject: Subject) -> str:
    """Sampling that remembers gives what sampling without memory gives, from the same random state."""
    model, (x, y, _) = subject.double(), subject.few(2)
    assert isinstance(model, Factorises)
    with fork(32):
        known = torch.rand(x.shape, device=x.device) < 0.2
    drawn = []
    for cached in (True, False):
        with fork(33), torch.no_grad():
            drawn.append(model.complete(x, known, y, cached=cached))
    off = gap(drawn[0], drawn[1])
    hold(off <= (1e-5 if model.space.levels is None else 0), f"they differ by {off:.3g}")
    return f"{len(x)} samples, {off:.1g} apart"


def completion_keeps_what_is_known(subject: Subject) -> str:
    """complete(x, known) returns the known part bit for bit, inside the space, and never looks at the rest."""
    model, (x, y, _) = subject.model, subject.few(4)
    assert isinstance(model, Completes)
    space = model.space
    known = (torch.arange(space.dims, device=x.device) % 3 == 0).view(space.shape).expand(x.shape)
    other = x + 1 if space.levels is None else ((x.long() + 1) % space.levels).to(x.dtype)
    drawn = []
    for given in (x, torch.where(known, x, other)):
        with fork(34), torch.no_grad():
            drawn.append(model.complete(given, known, y))
    hold(torch.equal(drawn[0][known], x[known]), "what is known was changed")
    hold(torch.equal(drawn[0], drawn[1]), "what is unknown is looked at")
    try:
        space.check(drawn[0])
    except ValueError as error:
        hold(False, str(error))
    return f"{float(known.double().mean()):.0%} of {space.dims} dimensions known"


def weights_sum_to_one(subject: Subject) -> str:
    """Weights of a mixture are probabilities."""
    assert isinstance(subject.model, Mixes)
    weights = subject.model.weights.double()
    hold((weights >= 0).all(), f"a weight is {float(weights.min()):.3g}")
    total = weights.sum(-1).flatten()
    worst = float(total[(total - 1).abs().argmax()])
    hold(abs(worst - 1) < 1e-4, f"the weights of {weights.shape[-1]} components sum to {worst:.6f}")
    return f"those of {weights.shape[-1]} components sum to {worst:.7f}"


def score_is_minus_the_energys_gradient(subject: Subject) -> str:
    """score(x) = -dE/dx, by central differences in double precision."""
    model, x = subject.double(), subject.batch.x.double()
    assert isinstance(model, HasFields)
    fields, step = model.fields(), 1e-5 * model.space.scale.double()
    slopes = []
    for dim in range(model.space.dims):
        moved = torch.zeros_like(x)
        moved[:, dim] = step[dim]
        with torch.no_grad():
            slopes.append((fields["energy"](x + moved) - fields["energy"](x - moved)) / (2 * step[dim]))
    slope = torch.stack(slopes, 1)
    off = gap(fields["score"](x).detach(), -slope)
    hold(off <= 1e-3 * (1 + float(slope.abs().max())), f"they are {off:.3g} apart")
    return f"at {len(x)} points, {off:.1g} apart"


def is_energy(model: GenerativeModel) -> bool:
    """Whether an energy and a score are defined over points."""
    return isinstance(model, HasFields) and model.space.is_points and {"energy", "score"} <= model.fields().keys()


def is_decoder(model: GenerativeModel) -> bool:
    """Whether there are codes to decode."""
    return isinstance(model, Decodes)


def is_autoencoder(model: GenerativeModel) -> bool:
    """Whether reconstructions are decoded codes."""
    return isinstance(model, Encodes) and isinstance(model, Reconstructs)
