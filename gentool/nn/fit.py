"""The network that fits the data, where nobody chose one."""

from collections.abc import Callable
from typing import Any

from gentool.kinds import kind_of_space
from gentool.nn import denoiser, unet
from gentool.space import DataSpace

FITS = {
    "denoiser": {
        "points": "mlp",
        "table": "mlp",
        "small": "unet",
        "grey": "unet",
        "colour": "unet",
        "large": "unet",
    },
}
"""The choice of a config group by the kind of data; read by `gentool.options` without importing this module."""

_BUILDERS: dict[str, dict[str, Callable[..., Any]]] = {"denoiser": {"mlp": denoiser.mlp, "unet": unet.unet}}


def fitting(group: str, space: DataSpace) -> Callable[..., Any]:
    """Return the builder of the network that fits the data.

    Args:
        group: the network's role, a config group.
        space: the data's facts.

    Returns:
        The builder, with the defaults of its options.
    """
    kind = kind_of_space(space.shape, space.levels, space.vocabulary)
    return _BUILDERS[group][FITS[group].get(kind, "mlp")]
