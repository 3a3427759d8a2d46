"""What distances between sets of examples are measured in: features of an image, or the example itself."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from gentool.batch import Batch
from gentool.errors import Unavailable
from gentool.metrics import classifier, scattering
from gentool.metrics.evaluation import Evaluation
from gentool.metrics.pace import paced
from gentool.space import DataSpace

FeatureName = Literal["auto", "digits", "images", "pixels", "inception"]
"""auto: those that fit the data; digits: of the bundled classifier; images: of any images, by a formula; pixels:
x / (levels - 1), of real data x itself; inception: Inception-v3's."""

MOST_DIMS = 4096
"""Dimensions up to which a covariance is formed: beyond, one takes 134 MB and more, and minutes to take roots of."""

KNOWS = 0.8
"""Share of the examples that the bundled classifier must take for their class, else their classes are not its own."""

TRIED = 1000
"""Examples it is tried on."""

AT_ONCE = 500
"""Examples embedded at once."""

IMAGES_AT_ONCE = 8
"""Images that wavelets filter at once: bounds the memory."""

ENLARGED = 50
"""Images that Inception sees at once: it makes them 299 x 299."""


@dataclass(frozen=True)
class Features:
    """A map from data space to the vectors that distances are of.

    Attributes:
        name: for the protocol: which map, and its version.
        embed: maps (n, *space.shape) to (n, d) float.
        at_once: examples embedded at once.
        dims: d, where it grows with the data; None: few.
    """

    name: str
    embed: Callable[[Tensor], Tensor]
    at_once: int = AT_ONCE
    dims: int | None = None

    def of(self, x: Tensor, say: Callable[[str], None] = print) -> Tensor:
        """Return (n, d) float64 features of x (n, *space.shape), the same whatever the size of x."""
        parts = torch.split(x.cpu(), self.at_once)
        found, at = torch.empty(0, dtype=torch.float64), 0
        with torch.no_grad():
            for part in paced(parts, len(parts), f"{self.name} features of {len(x):,} examples", say):
                features = self.embed(part)
                found = found if at else found.new_empty(len(x), features.shape[1])
                found[at : at + len(part)] = features
                at += len(part)
        return found


def scaled(x: Tensor, space: DataSpace) -> Tensor:
    """Return x (n, *shape) in [0, 1] where it has levels, as float32; real data is left as it is."""
    return x.float() if space.levels is None else x.float() / (space.levels - 1)


def pixels(space: DataSpace) -> Features:
    """Return the example itself as its features.

    Args:
        space: of the data.

    Returns:
        x / (levels - 1), flat; of real data x.

    Raises:
        Unavailable: of text, whose symbols have no distances.
    """
    if space.vocabulary:
        raise Unavailable("samples of text have no distances")
    name = "points" if space.is_points else "pixels"
    return Features(name, lambda x: scaled(x, space).double().flatten(1), dims=space.dims)


def images(space: DataSpace) -> Features:
    """Return the features of images by a formula, which serves any size; see `scattering`.

    Args:
        space: of the data.

    Returns:
        The features.

    Raises:
        Unavailable: if the data is not images of levels, grey or of three colours, 8 x 8 or larger.
    """
    if not space.is_image or space.levels is None or space.shape[0] not in (1, 3):
        raise Unavailable("features=images needs images of integer levels, with 1 or 3 channels")
    if min(space.shape[1:]) < scattering.SMALLEST:
        size = " x ".join(map(str, space.shape[1:]))
        raise Unavailable(f"features=images needs images of 8 x 8 pixels or more; these have {size}: features=pixels")
    return Features(scattering.VERSION, lambda x: scattering.features(scaled(x, space)), IMAGES_AT_ONCE)


def digit_classifier(evaluation: Evaluation, *, is_asked: bool = False) -> classifier.DigitClassifier:
    """Return the bundled classifier for this data.

    Args:
        evaluation: says what the data is.
        is_asked: whether the user named it, so that examples without labels are taken for digits.

    Returns:
        The classifier.

    Raises:
        Unavailable: if the data has another shape, or its classes are not the digits.
    """
    space = evaluation.space
    if space.shape not in ((1, 28, 28), (1, 8, 8)):
        shape = " x ".join(map(str, space.shape))
        raise Unavailable(f"the bundled classifier is of grey digits, 1 x 28 x 28 or 1 x 8 x 8; this data is {shape}")
    found = classifier.bundled(space.shape[-1])
    x, y = examples(evaluation, TRIED)
    if y is None and is_asked:
        return found
    if y is None or space.classes != 10:
        raise Unavailable("the bundled classifier is of the ten digits, and this data has other classes or none")
    if ("accuracy",) not in evaluation.kept:
        evaluation.kept["accuracy",] = float((found(scaled(x, space)).argmax(1) == y).float().mean())
    accuracy = evaluation.kept["accuracy",]
    if accuracy < KNOWS:
        raise Unavailable(f"the bundled classifier of digits does not know this data: it is right in {accuracy:.0%}")
    return found


def features_for(evaluation: Evaluation, name: FeatureName, most_dims: int | None = None) -> Features:
    """Return the features that were asked for, or those that fit the data.

    Args:
        evaluation: says what the data is.
        name: of the features; auto: digits where the bundled classifier knows the data, images of all other images of
            8 x 8 pixels or more, else the example itself.
        most_dims: dimensions at most; None: any number.

    Returns:
        The features.

    Raises:
        Unavailable: with the reason, if they do not fit the data, or have too many dimensions.
    """
    found = _automatic(evaluation) if name == "auto" else _named(evaluation, name)
    if most_dims is not None and found.dims is not None and found.dims > most_dims:
        shape, size = " x ".join(map(str, evaluation.space.shape)), 8 * found.dims**2 / 1e9
        raise Unavailable(
            f"features={found.name}: the {found.dims:,} dimensions of {shape} have a covariance of {size:.1f} GB; "
            f"expected {most_dims:,} at most: features=images or inception, or metrics=[kernel_distance]"
        )
    return found


def _automatic(evaluation: Evaluation) -> Features:
    for name in ("digits", "images"):
        try:
            return _named(evaluation, name, is_asked=False)
        except Unavailable:
            continue
    return pixels(evaluation.space)


def _named(evaluation: Evaluation, name: FeatureName, *, is_asked: bool = True) -> Features:
    space = evaluation.space
    if name == "pixels":
        return pixels(space)
    if name == "images":
        return images(space)
    if name == "inception":
        if ("inception",) not in evaluation.kept:
            evaluation.kept["inception",] = inception(space)  # its 24 million weights are read once
        known: Features = evaluation.kept["inception",]
        return known
    found = digit_classifier(evaluation, is_asked=is_asked)
    return Features(classifier.VERSION, lambda x: found.features(scaled(x, space)))


def inception(space: DataSpace) -> Features:
    """Return the 2,048 features of Inception-v3 that published Fréchet distances are in, by torch-fidelity.

    Args:
        space: of the data: images of 256 levels; grey ones are repeated over the colours.

    Returns:
        The features.

    Raises:
        Unavailable: if the data has no such images, the package is not installed, or its weights cannot be had.
    """
    if not space.is_image or space.levels is None or space.shape[0] not in (1, 3):
        raise Unavailable("features=inception are of images, grey or of three colours")
    try:
        from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3, FeatureExtractorInceptionV3
    except ImportError as error:
        raise Unavailable("features=inception needs torch-fidelity: pip install 'gentool[inception]'") from error
    try:
        network: nn.Module = FeatureExtractorInceptionV3("inception-v3-compat", ["2048"])
    except Exception as error:  # a download that fails raises whatever the network raises
        place = f"{URL_INCEPTION_V3} belongs into {torch.hub.get_dir()}/checkpoints"
        raise Unavailable(f"features=inception: its weights cannot be had ({error}); {place}") from error
    device = space.loc.device
    network.to(device)

    def embed(x: Tensor) -> Tensor:
        levels = (scaled(x, space) * 255).round().to(torch.uint8).expand(-1, 3, -1, -1)
        features: Tensor = network(levels.to(device))[0].cpu()
        return features

    return Features("inception-v3-compat", embed, ENLARGED)


def examples(evaluation: Evaluation, n: int | None = None, *, train: bool = False) -> tuple[Tensor, Tensor | None]:
    """Return the first examples of the split that is measured on, or of the training split; gathered once.

    Args:
        evaluation: holds the data.
        n: how many; None: all.
        train: whether of the training split.

    Returns:
        x (n, *space.shape) and y (n,), or None where there are no labels; on the CPU.
    """
    key = ("examples", train)
    known = evaluation.kept.get(key)
    if known is None or (known[2] is not None and (n is None or n > known[2])):
        batches = evaluation.data.train() if train else evaluation.data.held_out()
        known = evaluation.kept[key] = (*_first(batches, n), n)
    x, y, _ = known
    return x[:n], None if y is None else y[:n]


def _first(batches: Iterator[Batch], n: int | None) -> tuple[Tensor, Tensor | None]:
    xs, ys, count = [], [], 0
    for x, y, _ in batches:
        xs.append(x.cpu())
        ys += [] if y is None else [y.cpu()]
        count += len(x)
        if n is not None and count >= n:
            break
    return torch.cat(xs), torch.cat(ys) if ys else None


def embedded(
    evaluation: Evaluation,
    name: FeatureName,
    num_samples: int,
    num_examples: int | None = None,
    most_dims: int | None = None,
) -> tuple[Tensor, Tensor, str]:
    """Return the features of samples and of examples, computed once for all metrics.

    Args:
        evaluation: the model and the data.
        name: of the features.
        num_samples: samples.
        num_examples: examples of the split; None: all.
        most_dims: dimensions at most; None: any number.

    Returns:
        (num_samples, d) and (num_examples, d) float64, and the features' name and version.

    Raises:
        Unavailable: if the features do not fit the data, or there is only one example.
    """
    features = features_for(evaluation, name, most_dims)
    kept = evaluation.kept
    sets = {"samples": evaluation.samples(num_samples), "examples": examples(evaluation, num_examples)[0]}
    for what, x in sets.items():
        key = ("features", features.name, what)
        if key not in kept or len(kept[key]) < len(x):
            kept[key] = features.of(x, evaluation.say)
    drawn, held = (kept["features", features.name, what][: len(x)] for what, x in sets.items())
    if len(held) < 2:
        raise Unavailable("there is one example, and no distribution shows in one: 2 or more are needed")
    return drawn, held, features.name
