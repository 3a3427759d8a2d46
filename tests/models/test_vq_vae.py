"""What only the VQ-VAE claims: the bound against every grid of codes, two stages, a gradient straight through."""

from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import Any

import pytest
import torch
from torch import Tensor

from gentool.batch import Batch
from gentool.errors import UsageError
from gentool.models.autoregressive import Autoregressive
from gentool.models.vq_vae import VQVAE
from gentool.nn.pixelcnn import pixelcnn
from gentool.nn.raster_cache import RasterCache
from gentool.nn.resnet import grid_decoder, grid_encoder
from gentool.space import DataSpace
from gentool.training.optimizers import Optimizers
from gentool.training.rng import fork
from tests.laws import autoregressive_laws, laws
from tests.laws.laws import Recorder
from tests.spaces import space

BINARY = space((1, 4, 4), levels=2, classes=2)
NETWORK: dict[str, Any] = {"hidden_channels": [6], "blocks": 1, "hidden_features": [8], "activation": "relu"}
PRIOR: dict[str, Any] = {
    "channels": 4, "blocks": 1, "window": 3, "first_window": 3, "head_channels": 4, "embedding": 2,
}  # fmt: skip
SAMPLER: dict[str, Any] = {"mean": True, "temperature": 1.0, "top_k": None, "top_p": None}


def vq_vae(where: DataSpace = BINARY, **options: Any) -> VQVAE:
    """Three codes on a grid of 2x2: 81 grids."""
    conditional = options.get("conditional", False)
    defaults: dict[str, Any] = {
        "codes": 3,
        "latent_dim": 2,
        "likelihood": "auto",
        "sigma": "learned",
        "beta": 0.25,
        "decay": 0.9,
        "revive": 0.05,
        "autoencoder_share": 0.5,
        "conditional": False,
        "encoder": partial(grid_encoder, side=2, **NETWORK),
        "decoder": partial(grid_decoder, **NETWORK),
        "prior": partial(
            Autoregressive,
            network=partial(pixelcnn, **PRIOR),
            likelihood="categorical",
            components=1,
            conditional=conditional,
            sampler=SAMPLER,
        ),
        "sampler": dict(SAMPLER),
    }
    with fork(0):
        return VQVAE(where, **{**defaults, **options})


def batches(seed: int = 0, n: int = 16) -> Iterator[Batch]:
    """Two classes, each a pattern with noise."""
    g = torch.Generator().manual_seed(seed)
    patterns = torch.rand(2, 1, 4, 4, generator=torch.Generator().manual_seed(5))
    while True:
        y = torch.randint(2, (n,), generator=g)
        yield Batch(torch.bernoulli(patterns[y], generator=g).to(torch.uint8), y, torch.arange(n))


def optimizers(model: VQVAE, steps: int, kind: type[Optimizers] = Optimizers, accumulate: int = 1) -> Optimizers:
    adam = partial(torch.optim.Adam, lr=1e-2)
    return kind(model, adam, lambda t: 1.0, steps=steps, accumulate=accumulate, clip_norm=None)


def train(model: VQVAE, steps: int, *, to: int | None = None, by: Optimizers | None = None, data: Any = None) -> VQVAE:
    """Train up to step `to` of a plan of `steps`."""
    by, data = by or optimizers(model, steps), data or batches()
    model.train()
    while by.step < (to or steps):
        model.train_step(data, by)
        by.step += 1
    return model.eval()


@cache
def _weights(conditional: bool) -> dict[str, Tensor]:
    with fork(1):
        return laws.snapshot(train(vq_vae(conditional=conditional), 200))


def trained(conditional: bool = False) -> VQVAE:
    model = vq_vae(conditional=conditional)
    model.load_state_dict(_weights(conditional))
    return model.eval()


def table(model: VQVAE, x: Tensor, y: int | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Every grid of codes (81, 2, 2), log p(z) (81,) or log p(z | y), and log p(x | z) (batch, 81)."""
    codes = torch.cartesian_prod(*[torch.arange(3)] * 4).view(-1, 2, 2)
    labels = None if y is None else torch.full((81,), y)
    with torch.no_grad():
        log_p_z = model.prior.log_prob(codes[:, None].to(torch.uint8), labels)
        outputs = model.decoder(model.codebook.vectors[codes].permute(0, 3, 1, 2)) + model.start
        log_p_x = torch.stack([model.observation.log_prob(each, outputs) for each in x])
    return codes, log_p_z, log_p_x


def nearest_grid(model: VQVAE, x: Tensor) -> Tensor:
    """Row of `table` that the encoder points to, by distances written out."""
    with torch.no_grad():
        features = model.encoder(model.space.standardise(x)).permute(0, 2, 3, 1)
    codes = (features[..., None, :] - model.codebook.vectors).square().sum(-1).argmin(-1).flatten(1)
    return (codes * 3 ** torch.arange(3, -1, -1)).sum(1)


def bound_is_one_term_of_the_sum(model: VQVAE) -> None:
    """log_prob = log p(x | z(x)) + log p(z(x)) <= log sum_z p(x | z) p(z), over all 81 grids z."""
    batch = next(batches(9))
    log_p_y = model.space.frequencies.log()
    asked: list[int | None] = [None, 0, 1] if model.conditional else [None]
    for y in asked:
        labels = None if y is None else torch.full((len(batch.x),), y)
        value = model.log_prob(batch.x, labels)
        if model.conditional and y is None:
            parts = [table(model, batch.x, c) for c in range(2)]
            log_p_z = torch.stack([p[1] + log_p_y[c] for c, p in enumerate(parts)]).logsumexp(0)
            log_p_x = parts[0][2]
        else:
            _, log_p_z, log_p_x = table(model, batch.x, y)
        torch.testing.assert_close(log_p_z.exp().sum(), torch.tensor(1.0))
        exact = (log_p_x + log_p_z).logsumexp(1)
        mine = (log_p_x + log_p_z).gather(1, nearest_grid(model, batch.x)[:, None])[:, 0]
        assert (value <= exact + 1e-4).all(), "the bound lies above log p(x)"
        torch.testing.assert_close(value, mine, rtol=1e-4, atol=1e-4)


def samples_follow_prior_and_decoder(model: VQVAE, n: int = 3000) -> None:
    """Each of the 81 grids is drawn with the prior's probability; E x = sum_z p(z) E(x | z)."""
    codes, log_p_z, _ = table(model, next(batches()).x[:1], 1 if model.conditional else None)
    p, labels = log_p_z.exp(), torch.ones(n, dtype=torch.int64) if model.conditional else None
    with fork(3):
        drawn = model.codebook.nearest(model._draw(n, labels)).flatten(1)
    share = torch.bincount((drawn * 3 ** torch.arange(3, -1, -1)).sum(1), minlength=81) / n
    assert ((share - p).abs() <= 5 * (p * (1 - p) / n).sqrt() + 2e-3).all(), "codes do not follow the prior"
    with fork(3):
        x = model.sample(n, labels).float().flatten(1).mean(0)
    with torch.no_grad():
        expected = p @ model.decode(model.codebook.vectors[codes].permute(0, 3, 1, 2)).flatten(1)
    error = (expected * (1 - expected) / n).sqrt()
    assert ((x - expected).abs() <= 5 * error + 1e-3).all(), "samples have another mean"


def gradient_passes_straight_through(model: VQVAE) -> None:
    """d loss / d features = d(-log p(x | z)) / dz at the codes + 2 beta (features - z), over the batch's size."""
    batch = next(batches())
    features = model.encoder(model.space.standardise(batch.x)).detach().requires_grad_()
    model.encoder.forward = lambda x: features  # type: ignore[method-assign]
    model.loss(batch, []).total.backward()
    z = model.codebook.embed(model.codebook.nearest(features.detach().movedim(1, -1))).movedim(-1, 1)
    z = z.detach().requires_grad_()
    log_p_x = model.observation.log_prob(batch.x, model.decoder(z) + model.start).mean()
    (slope,) = torch.autograd.grad(-log_p_x, z)
    pull = 2 * 0.25 * (features - z).detach() / len(batch.x)
    torch.testing.assert_close(features.grad, slope + pull)


def second_stage_moves_the_prior_alone(model: VQVAE) -> None:
    """From the middle of the plan on, encoder, decoder and codebook rest."""
    before = laws.snapshot(model)
    by = optimizers(model, 10, Recorder)
    by.step = 5
    model.train()
    metrics = model.train_step(batches(), by)
    assert all(name.startswith("prior/") for name in metrics), f"metrics are {list(metrics)}"
    for name, value in model.state_dict().items():
        moved = not torch.equal(value, before[name])
        assert name.startswith("prior.") or not moved, f"{name} moved in the prior's stage"


LAWS = (
    bound_is_one_term_of_the_sum,
    samples_follow_prior_and_decoder,
    gradient_passes_straight_through,
    second_stage_moves_the_prior_alone,
)


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("make", [vq_vae, trained], ids=["untrained", "trained"])
def test_laws(make, law):
    law(make())


@pytest.mark.parametrize("law", [bound_is_one_term_of_the_sum, samples_follow_prior_and_decoder])
def test_laws_of_conditional_models(law):
    law(trained(conditional=True))


@pytest.mark.parametrize("conditional", [False, True])
def test_codes_drawn_with_caches_are_those_drawn_without(conditional):
    caches_change_no_code(trained(conditional))


def caches_change_no_code(model: VQVAE) -> None:
    batch = next(batches())
    codes = model._batch_of_codes(model._encode(batch.x).codes, batch.y)
    autoregressive_laws.cached_equals_naive(model.prior, codes)


def test_a_code_that_its_cache_forgets_is_caught(monkeypatch):
    put = RasterCache.put
    monkeypatch.setattr(RasterCache, "put", lambda self, i, x: put(self, i, 0 * x))
    with pytest.raises(AssertionError):
        caches_change_no_code(trained())


def _replace(name: str, by: Callable[[Any, Any], Any]) -> Callable[[Any], None]:
    def plant(model: Any) -> None:
        model.__dict__[name] = by(model, getattr(model, name))

    return plant


def _forgets_the_prior(m: Any, old: Any) -> Any:
    return lambda x, y=None, draws=1: m._reconstruction(x, m._encode(x).z)


def _draws_codes_alike(m: Any, old: Any) -> Any:
    return lambda n, y: m.codebook.embed(torch.randint(3, (n, 2, 2)))


def _codebook_learns_with_the_prior(m: Any, old: Any) -> Any:
    def step(data: Any, by: Any) -> Any:
        metrics = old(data, by)
        m.codebook.follow(torch.randn(16, 2), torch.zeros(16, dtype=torch.int64), lambda t: t)
        return metrics

    return step


def _stops_the_gradient(m: Any, old: Any) -> Any:
    def encode(x: Tensor) -> Any:
        coded = old(x)
        return coded._replace(features=coded.features.detach() + 0 * coded.features)

    return encode


FAULTS: list[tuple[Callable[[VQVAE], None], Callable[[Any], None]]] = [
    (bound_is_one_term_of_the_sum, _replace("log_prob", _forgets_the_prior)),
    (bound_is_one_term_of_the_sum, _replace("_outputs", lambda m, old: lambda z: old(z.transpose(1, 2)))),
    (
        bound_is_one_term_of_the_sum,
        _replace("_encode", lambda m, old: lambda x: old(x)._replace(codes=0 * old(x).codes)),
    ),
    (samples_follow_prior_and_decoder, _replace("_draw", _draws_codes_alike)),
    (samples_follow_prior_and_decoder, _replace("_draw", lambda m, old: lambda n, y: old(n, y).transpose(1, 2))),
    (gradient_passes_straight_through, _replace("_encode", _stops_the_gradient)),
    (gradient_passes_straight_through, lambda m: setattr(m, "beta", 0.5)),
    (second_stage_moves_the_prior_alone, _replace("train_step", _codebook_learns_with_the_prior)),
    (second_stage_moves_the_prior_alone, lambda m: setattr(m, "autoencoder_share", 0.6)),
]


@pytest.mark.parametrize(("law", "fault"), FAULTS)
def test_laws_catch_their_faults(law, fault):
    model = trained()
    fault(model)
    with pytest.raises(AssertionError):
        law(model)


def test_the_objective_falls_in_both_stages():
    """best.pt is the lowest bound: what the code learns first and what the prior learns after both lower it."""
    model, batch = vq_vae(), next(batches(3, 64))
    by, data = optimizers(model, 60), batches()
    found = []
    with fork(1):
        for to in (1, 30, 60):
            train(model, 60, to=to, by=by, data=data)
            with torch.no_grad():
                found.append(model.objective(batch).mean().item())
                torch.testing.assert_close(model.objective(batch), -model.log_prob(batch.x))
    assert found[0] > found[1] > found[2]


def test_a_run_cut_anywhere_is_the_run_left_alone():
    """Weights and codebook statistics, in either stage and over their border."""
    for cut in (2, 5, 8):
        states = []
        for stops in ((10,), (cut, 10)):
            model, data = vq_vae(), batches()
            by = optimizers(model, 10)
            with fork(1):
                for stop in stops:
                    train(model, 10, to=stop, by=by, data=data)
                    saved, kept, step = laws.snapshot(model), by.state(), by.step
                    with fork(9):
                        model = vq_vae()
                        torch.rand(3)
                    model.load_state_dict(saved)
                    by = optimizers(model, 10)
                    by.load(kept)
                    by.step = step
            states.append(saved)
        for name, value in states[0].items():
            assert torch.equal(value, states[1][name]), f"{name} differs when cut at {cut}"


def test_accumulating_gives_the_codebook_of_the_whole_batch():
    whole, parts = vq_vae(revive=0.0), vq_vae(revive=0.0)
    big = next(batches(0, 32))
    halves = iter([Batch(*(t[i : i + 16] for t in big)) for i in (0, 16)])
    whole.train_step(iter([big]), optimizers(whole, 2))
    parts.train_step(halves, optimizers(parts, 2, accumulate=2))
    torch.testing.assert_close(parts.codebook.vectors, whole.codebook.vectors)
    torch.testing.assert_close(parts.codebook.counts, whole.codebook.counts)


def test_only_training_writes_the_codebook():
    model = trained().train()
    before = laws.snapshot(model.codebook)
    batch = next(batches())
    model.loss(batch, [])
    model.objective(batch)
    model.report(lambda: iter([batch]))
    assert all(torch.equal(v, before[k]) for k, v in model.codebook.state_dict().items())


def test_the_moving_average_is_of_the_prior_alone():
    """The average of a code and its encoder would be those of no moment."""
    model = vq_vae()
    assert {id(p) for p in model.averaged()} == {id(p) for p in model.prior.parameters()}


def test_report_does_not_depend_on_the_batches():
    model, b = trained(), next(batches(0, 60))
    whole = model.report(lambda: iter([b]))
    split = model.report(lambda: iter([Batch(*(t[i : i + 7] for t in b)) for i in range(0, 60, 7)]))
    assert set(whole) == {"reconstruction", "codes", "perplexity", "usage", "bits_per_dim"}
    for name in whole:
        torch.testing.assert_close(whole[name], split[name])
    torch.testing.assert_close(whole["reconstruction"] + whole["codes"], model.log_prob(b.x).mean())
    used = model._encode(b.x).codes.unique()
    assert whole["usage"].item() == pytest.approx(len(used) / 3)
    assert model.report(lambda: iter([])) == {}


def test_what_a_reader_asks_of_sampling_reaches_the_prior():
    model = trained()
    model.sampler.update(temperature=0.0)
    with fork(0):
        assert len(model.sample_latent(20).flatten(1).unique(dim=0)) == 1
    model.sampler.update(temperature=1.0)
    with fork(0):
        assert len(model.sample_latent(20).flatten(1).unique(dim=0)) > 1


def test_decode_goes_by_the_nearest_codes():
    model, x = trained(), next(batches()).x
    z = model.encode(x)
    torch.testing.assert_close(model.decode(z + 1e-4), model.decode(z))


@pytest.mark.parametrize(("shape", "grid"), [((1, 28, 28), (7, 7)), ((3, 13, 17), (4, 5)), ((1, 8, 8), (2, 2))])
def test_the_grid_follows_the_image(shape, grid):
    two = {**NETWORK, "hidden_channels": [4, 6]}
    model = vq_vae(
        space(shape, levels=256),
        encoder=partial(grid_encoder, side=2, **two),
        decoder=partial(grid_decoder, **two),
    )
    assert model.sample_latent(2).shape == (2, 2, *grid)
    assert model.sample(2).shape == (2, *shape)


def test_refusals_name_the_reason():
    with pytest.raises(UsageError, match="needs data with classes"):
        vq_vae(space((1, 4, 4), levels=2), conditional=True)
    with pytest.raises(UsageError, match="for images and points of reals"):
        vq_vae(space((16,), levels=20, vocabulary=tuple("abcdefghijklmnopqrst")))
    with pytest.raises(UsageError, match="do not lead from a grid of 2x2 to images of 4x4"):
        vq_vae(decoder=partial(grid_decoder, **{**NETWORK, "hidden_channels": [4, 6]}))
    with pytest.raises(UsageError, match="at least one stage"):
        vq_vae(encoder=partial(grid_encoder, side=2, **{**NETWORK, "hidden_channels": []}))
