"""What older checkpoints call things: their configs are brought up to date when they are read."""

from collections.abc import Callable, Mapping
from typing import Any

ANNEALED = "annealed_langevin"
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
    upgrade = UPGRADES.get(str(values.get("_target_")))
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


def _diffusion(values: dict[str, Any], is_image: bool) -> dict[str, Any]:
    """Samplers had the options of all methods; each has its own."""
    return _with_sampler(values, {"eta": "ddim", "churn": "heun", "inner_steps": ANNEALED, "step_size": ANNEALED})


def _flow_matching(values: dict[str, Any], is_image: bool) -> dict[str, Any]:
    return _with_sampler(values, {"tolerance": "dopri5"})


def _with_sampler(values: dict[str, Any], owners: Mapping[str, str]) -> dict[str, Any]:
    sampler = values.get("sampler")
    if not isinstance(sampler, Mapping) or "method" not in sampler:
        return values
    kept = {key: value for key, value in sampler.items() if owners.get(key, sampler["method"]) == sampler["method"]}
    return {**values, "sampler": kept}


UPGRADES: dict[str, Callable[[dict[str, Any], bool], dict[str, Any]]] = {
    "gentool.nn.denoiser": _denoiser,
    f"{NOISE}.Noise": _noise,
    "gentool.models.diffusion.Diffusion": _diffusion,
    "gentool.models.flow_matching.FlowMatching": _flow_matching,
}
"""What is done to each target of format 1."""
