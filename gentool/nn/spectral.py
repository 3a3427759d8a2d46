"""Spectral normalisation: layers whose largest gain is 1, so that a critic built of them is Lipschitz."""

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrize import register_parametrization

AT_FIRST = 15
"""Power iterations before the first step; one a forward pass follows the weights from there."""


class Spectral(nn.Module):
    """W / sigma(W), with sigma the largest singular value of W as a matrix of its outputs by all the rest.

    Its estimate u' W v follows W by one power iteration a forward pass in training; it is a buffer, so a resumed run
    goes on with it, and evaluation only reads it.

    Args:
        weight: W, (outputs, …).

    Reference: Spectral Normalization for Generative Adversarial Networks, Takeru Miyato et al., 2018,
        https://arxiv.org/abs/1802.05957
    """

    u: Tensor
    v: Tensor

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        matrix = weight.detach().flatten(1)
        self.register_buffer("u", functional.normalize(torch.randn(len(matrix)), dim=0))
        self.register_buffer("v", functional.normalize(torch.randn(matrix.shape[1]), dim=0))
        for _ in range(AT_FIRST):
            self._follow(matrix)

    def forward(self, weight: Tensor) -> Tensor:
        """Return W / sigma(W), of the shape of W (outputs, …)."""
        kind = "cpu" if weight.is_meta else weight.device.type  # autocast knows no meta device
        with torch.autocast(kind, enabled=False):  # an error of sigma is one of the whole layer
            matrix = weight.flatten(1)
            if self.training:
                self._follow(matrix.detach())
            return weight / (self.u @ (matrix @ self.v))

    @torch.no_grad()
    def _follow(self, matrix: Tensor) -> None:
        # New tensors, not the old ones changed: the graph of an earlier forward pass may still hold those.
        self.v = functional.normalize(matrix.T @ self.u, dim=0)
        self.u = functional.normalize(matrix @ self.v, dim=0)


def normalise_spectrally(body: nn.Module) -> None:
    """Give every linear, convolutional and embedding layer a weight of spectral norm 1.

    Args:
        body: whose layers' weights are (outputs, …); an embedding's (classes, features) is a map from indicators.
    """
    for layer in list(body.modules()):
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.Embedding):
            register_parametrization(layer, "weight", Spectral(layer.weight))
