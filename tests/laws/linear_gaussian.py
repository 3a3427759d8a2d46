"""A VAE whose log p(x) is known."""

import torch

from gentool.models.vae import VAE
from gentool.nn import decoder, encoder
from tests.spaces import space


def linear_gaussian() -> tuple[VAE, torch.distributions.MultivariateNormal]:
    """Probabilistic PCA with its exact posterior as encoder, and the Gaussian that it is.

    x = scale (W z + b + sigma eps) + loc; columns of W orthogonal, so the posterior is diagonal:
    q(z | x) = N(D W^T (x' - b), sigma² D), D = (sigma² + diag |w_j|²)^-1.
    """
    data, sigma = space((3,), loc=2.0, scale=3.0), 0.4
    options = {"kind": "mlp", "hidden_features": [], "hidden_channels": [], "activation": "relu"}
    model = VAE(
        data,
        latent_dim=2,
        likelihood="gaussian",
        sigma=sigma,
        beta=1.0,
        kl_warm_up=0.0,
        free_bits=0.0,
        draws=1,
        conditional=False,
        encoder=lambda *args: encoder(*args, **options),
        decoder=lambda *args: decoder(*args, **options),
        prior="normal",
        components=1,
        sampler={"mean": True, "temperature": 1.0, "steps": 0},
    )
    w = torch.tensor([[1.0, 0.5], [1.0, -0.5], [0.5, 0.0]])
    w[:, 1] -= w[:, 0] * (w[:, 0] @ w[:, 1]) / w[:, 0].square().sum()
    b = torch.tensor([0.3, -0.2, 0.1])
    d = 1 / (sigma**2 + w.square().sum(0))
    with torch.no_grad():
        layer = model.decoder.body.layers.layers[0]
        layer.weight.copy_(w)
        layer.bias.copy_(b)
        layer = model.encoder.body.layers[0]
        layer.weight.copy_(torch.cat([d[:, None] * w.T, torch.zeros(2, 3)]))
        layer.bias.copy_(torch.cat([-d * (w.T @ b), (sigma**2 * d).log()]))
    covariance = 9 * (w @ w.T + sigma**2 * torch.eye(3))
    return model, torch.distributions.MultivariateNormal(2 + 3 * b, covariance)
