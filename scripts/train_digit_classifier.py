"""Train the classifiers of digits that gentool ships: the features of its Fréchet distances, its judge of classes.

    python scripts/train_digit_classifier.py          # minutes on one thread; needs MNIST in $GENTOOL_DATA

Each image is moved by up to two pixels (one of 8 x 8), and half of each batch is binarised, by chance or by threshold,
so that binarised digits are as familiar as grey ones. The same seed gives the same weights on the same machine.
"""

import argparse
import os
import time

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, pad

from gentool.data.dataset import Dataset, Rows
from gentool.data.images import digits, mnist
from gentool.metrics.classifier import DigitClassifier, weights_file
from gentool.training.checkpoints import atomic_write

EPOCHS: dict[int, int] = {28: 6, 8: 100}
BATCH, RATE = 128, 3e-3


def load(size: int) -> Dataset:
    """Return the images of that size, split as `dataset=mnist` and `dataset=digits` are."""
    if size == 8:
        return digits(binarize="none", validation=0.1, test=0.2, seed=0)
    return mnist(root=os.environ.get("GENTOOL_DATA"), binarize="none", validation=0.0, seed=0)


def table(split: object, levels: int) -> tuple[Tensor, Tensor]:
    """Return all images of a split in [0, 1], and their labels."""
    assert isinstance(split, Rows) and split.y is not None
    return split.x.float() / (levels - 1), split.y


def augment(x: Tensor, reach: int, generator: torch.Generator) -> Tensor:
    """Move a batch by up to `reach` pixels each way, and binarise half of it."""
    size = x.shape[-1]
    down, right = torch.randint(0, 2 * reach + 1, (2,), generator=generator).tolist()
    x = pad(x, (reach,) * 4)[..., down : down + size, right : right + size].clone()
    quarter = len(x) // 4
    x[:quarter] = (x[:quarter] > torch.rand(x[:quarter].shape, generator=generator)).float()
    x[quarter : 2 * quarter] = (x[quarter : 2 * quarter] > 0.5).float()
    return x


def accuracy(classifier: DigitClassifier, x: Tensor, y: Tensor) -> float:
    """Return the share of images classified rightly."""
    with torch.no_grad():
        return float(torch.cat([classifier(part).argmax(1) for part in x.split(500)]).eq(y).float().mean())


def calibrate(classifier: DigitClassifier, x: Tensor, y: Tensor) -> None:
    """Scale the logits to the least cross-entropy on grey training images: smoothed labels leave them too unsure.

    Neither the features nor the class found change by it (Guo et al., 2017, https://arxiv.org/abs/1706.04599).
    """
    classifier.eval()
    with torch.no_grad():
        logits = torch.cat([classifier(part) for part in x.split(500)])
        scales = torch.arange(1.0, 6.0, 0.05)
        best = scales[torch.stack([cross_entropy(scale * logits, y) for scale in scales]).argmin()]
        classifier.head.weight *= best
        classifier.head.bias *= best
    print(f"logits scaled by {best:.2f}")


def train(size: int, seed: int) -> None:
    """Train one classifier, write its weights into the package, and print its accuracy."""
    started = time.perf_counter()
    data = load(size)
    x, y = table(data.train, data.space.levels or 0)
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    classifier = DigitClassifier(size).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(classifier.parameters(), lr=RATE, weight_decay=1e-2)
    steps = EPOCHS[size] * (len(x) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps)
    for epoch in range(EPOCHS[size]):
        for rows in torch.randperm(len(x), generator=generator).split(BATCH)[: len(x) // BATCH]:
            batch = augment(x[rows], 2 if size == 28 else 1, generator).contiguous(memory_format=torch.channels_last)
            loss = cross_entropy(classifier(batch), y[rows], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        if size == 28:
            print(f"epoch {epoch + 1}: loss {loss.item():.4f}, {time.perf_counter() - started:.0f} s", flush=True)
    calibrate(classifier, x, y)
    write(classifier, size)
    report(size, data)


def write(classifier: DigitClassifier, size: int) -> None:
    """Write the weights into the package, as float16."""
    state = {name: t.contiguous().half() if t.is_floating_point() else t for name, t in classifier.state_dict().items()}
    atomic_write(weights_file(size), lambda file: torch.save(state, file))


def report(size: int, data: Dataset) -> None:
    """Print the accuracy of the weights as they are shipped, on test images grey and binarised."""
    classifier = DigitClassifier(size).eval()
    state = torch.load(weights_file(size), weights_only=True)
    classifier.load_state_dict({name: t.float() if t.is_floating_point() else t for name, t in state.items()})
    x, y = table(data.test, data.space.levels or 0)
    drawn = (x > torch.rand(x.shape, generator=torch.Generator().manual_seed(0))).float()
    print(f"{size} x {size}: accuracy on {len(x)} test images {accuracy(classifier, x, y):.4f}, binarised by chance "
          f"{accuracy(classifier, drawn, y):.4f}, by threshold {accuracy(classifier, (x > 0.5).float(), y):.4f}; "
          f"{weights_file(size).stat().st_size / 1000:.0f} kB")  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    seed = parser.parse_args().seed
    torch.set_num_threads(1)
    train(8, seed)
    train(28, seed)
