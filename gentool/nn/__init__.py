"""Networks: tensors in, tensors out; they know no loss."""

from gentool.nn.coupling import coupling_network
from gentool.nn.denoiser import denoiser
from gentool.nn.network import Network
from gentool.nn.roles import decoder, encoder

__all__ = ["Network", "coupling_network", "decoder", "denoiser", "encoder"]
