"""What older checkpoints call things: their configs are brought up to date when they are read."""

from collections.abc import Mapping
from typing import Any

NOISE = "gentool.probability.noise"
SCHEDULES = {"linear": "Linear", "cosine": "Cosine", "geometric": "Geometric", "log_normal": "LogNormal"}


def upgraded(node: Any, is_image: bool) -> Any:
    """Return a config of format 1 in the words of today.

    Args:
        node: the config, or a part of it, in plain types.
        is_image: whether x is an image, by which a network was chosen where its kind was `auto`.

    Returns:
        A new config.
    """
    if isinstance(node, list):
        return [upgraded(item, is_image) for item in node]
    if not isinstance(node, Mapping):
        return node
    values = {key: upgraded(value, is_image) for key, value in node.items()}
    upgrade = {"gentool.nn.denoiser": _denoiser, f"{NOISE}.Noise": _noise}.get(str(values.get("_target_")))
    return upgrade(values, is_image) if upgrade is not None else values


def _denoiser(values: dict[str, Any], is_image: bool) -> dict[str, Any]:
    """One builder with a `kind` became one builder for each network."""
    kind = values.get("kind", "auto")
    is_unet = kind == "unet" or (kind == "auto" and is_image)
    target = "gentool.nn.unet.unet" if is_unet else "gentool.nn.denoiser.mlp"
    gone = {
        "kind",
        *(("hidden_features", "octaves") if is_unet else ("hidden_channels", "blocks", "patch", "attention")),
    }
    return {**{key: value for key, value in values.items() if key not in gone}, "_target_": target}


def _noise(values: dict[str, Any], is_image: bool) -> dict[str, Any]:
    """One class with a `law` became one class for each noise schedule."""
    law = values.get("law", "cosine")
    gone = {"law", *(() if law == "log_normal" else ("mean", "std"))}
    return {**{k: v for k, v in values.items() if k not in gone}, "_target_": f"{NOISE}.{SCHEDULES[law]}"}
