"""Networks: tensors in, tensors out; they know no loss."""

from gentool.nn.coupling import coupling_network
from gentool.nn.energy import energy
from gentool.nn.network import Network
from gentool.nn.players import critic, generator
from gentool.nn.roles import decoder, encoder

__all__ = ["Network", "coupling_network", "critic", "decoder", "encoder", "energy", "generator"]
