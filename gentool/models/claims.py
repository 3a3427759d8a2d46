"""What a model lays open of its own mathematics, so that `verify` can hold it to that."""

from typing import Protocol, runtime_checkable

from torch import Tensor

from gentool.models.base import Completes, Encodes


@runtime_checkable
class Inverts(Encodes, Protocol):
    """An invertible map of data to noise whose change of volume is known."""

    def encode_and_log_det(self, x: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return (batch, dims) what `encode` returns and (batch,) log |det dz/dx|, differentiable in x (float)."""
        ...

    def latent_log_prob(self, z: Tensor) -> Tensor:
        """Return (batch,) log p(z) in nats, of noise z (batch, dims)."""
        ...


@runtime_checkable
class Marginalises(Encodes, Protocol):
    """p(x) = ∫ p(x, z) dz, z a vector of reals."""

    def log_joint(self, x: Tensor, z: Tensor, y: Tensor | None = None) -> Tensor:
        """Return (batch,) log p(x, z) in nats, of x (batch, *space.shape) and z (batch, latent_dim)."""
        ...


@runtime_checkable
class Mixes(Protocol):
    """A mixture of components.

    Attributes:
        weights: (…, components), the probabilities of the components.
    """

    weights: Tensor


@runtime_checkable
class Factorises(Completes, Protocol):
    """p(x) as a product of p(x_i | x_<i), in an order."""

    @property
    def order(self) -> Tensor:
        """(dims,) int64, the flat index of each dimension in the order they are drawn."""
        ...

    def outputs(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Return (batch, outputs a dimension, *space.shape), of which each p(x_i | x_<i) is made."""
        ...

    def complete(self, x: Tensor, known: Tensor, y: Tensor | None = None, *, cached: bool = True) -> Tensor:
        """Complete, and where `cached` is false without remembering anything from one dimension to the next."""
        ...
