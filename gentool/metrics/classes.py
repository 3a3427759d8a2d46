"""What a classifier says of samples: how often each class comes, how clear it is, whether it is the one asked for."""

import torch
from pydantic import PositiveInt
from torch import Tensor

from gentool.metrics.bootstrap import bootstrap_error
from gentool.metrics.classifier import VERSION
from gentool.metrics.evaluation import Evaluation, Result, Several
from gentool.metrics.features import AT_ONCE, digit_classifier, embedded, examples, features_for, scaled
from gentool.metrics.likelihood import mean_and_error
from gentool.metrics.representation import vote


def class_probabilities(evaluation: Evaluation, x: Tensor) -> Tensor:
    """Return (n, 10) float64 p(class | x) by the bundled classifier, of x (n, *space.shape) in data space."""
    classifier = digit_classifier(evaluation)
    parts = torch.split(scaled(x, evaluation.space), AT_ONCE)
    with torch.no_grad():
        return torch.cat([classifier(part).double().softmax(1) for part in parts])


class ClassHistogram:
    """The largest deviation of a class's share of the samples from its share of the training data, in percent points.

    Args:
        num_samples: samples it is of.
    """

    def __init__(self, *, num_samples: Several) -> None:
        self.num_samples = num_samples

    def __call__(self, evaluation: Evaluation) -> Result:
        """Measure; see `Metric`."""
        x = evaluation.samples(self.num_samples)
        found = class_probabilities(evaluation, x).argmax(1)
        wanted = evaluation.space.frequencies.cpu().double()

        def deviation(rows: Tensor) -> float:
            share = torch.bincount(found[rows], minlength=len(wanted)) / len(rows)
            return 100 * float((share - wanted).abs().max())

        shares = torch.bincount(found, minlength=len(wanted)) / len(x)
        protocol = {"classifier": VERSION, "num_samples": len(x), "shares": [round(s, 4) for s in shares.tolist()]}
        error = bootstrap_error(deviation, len(x), seed=evaluation.seed)
        return Result(deviation(torch.arange(len(x))), error, protocol)


def classifier_score(probabilities: Tensor) -> float:
    """Return exp of the mean over examples of KL(p(class | x) || p(class)), in [1, classes].

    Args:
        probabilities: (n, classes), rows sum to 1.

    Returns:
        The score: high where each example has a clear class, and all classes come equally often.

    Reference: Improved Techniques for Training GANs, Tim Salimans, Ian Goodfellow, Wojciech Zaremba, Vicki Cheung,
        Alec Radford and Xi Chen, 2016, https://arxiv.org/abs/1606.03498
    """
    marginal = probabilities.mean(0)
    return float(torch.special.xlogy(probabilities, probabilities / marginal).sum(1).mean().exp())


class ClassifierScore:
    """The inception score, with the bundled classifier of digits in Inception's place.

    Args:
        num_samples: samples it is of.
    """

    def __init__(self, *, num_samples: Several) -> None:
        self.num_samples = num_samples

    def __call__(self, evaluation: Evaluation) -> Result:
        """Measure; see `Metric`."""
        found = class_probabilities(evaluation, evaluation.samples(self.num_samples))
        own = classifier_score(class_probabilities(evaluation, examples(evaluation)[0]))
        error = bootstrap_error(lambda rows: classifier_score(found[rows]), len(found), seed=evaluation.seed)
        protocol = {"classifier": VERSION, "num_samples": len(found), "of_the_examples": round(own, 4)}
        return Result(classifier_score(found), error, protocol)


class LabelAccuracy:
    """The share of a conditional model's samples that a judge takes for the label they were asked for.

    (1/n) sum_i [judge(x_i) = y_i], x_i ~ p(x | y_i), the labels y_i drawn by their training frequency. The judge knows
    the data alone: the k nearest training examples vote, in the features that fit the data (`features_for`). Its
    accuracy on the held-out examples, `held_out` in the protocol, is what perfect samples would score.

    Args:
        num_samples: samples it is of.
        k: neighbours that vote, each once.
        num_examples: training examples, at most.

    Reference: How good is my GAN?, Konstantin Shmelkov, Cordelia Schmid and Karteek Alahari, 2018,
        https://arxiv.org/abs/1807.09499, where it is GAN-test
    """

    def __init__(self, *, num_samples: Several, k: PositiveInt, num_examples: PositiveInt) -> None:
        self.num_samples, self.k, self.num_examples = num_samples, k, num_examples

    def __call__(self, evaluation: Evaluation) -> Result:
        """Measure; see `Metric`."""
        _, asked = evaluation.labelled_samples(self.num_samples)
        drawn, held_out, name = embedded(evaluation, "auto", self.num_samples)
        train, classes = examples(evaluation, self.num_examples, train=True)
        _, truth = examples(evaluation)
        assert classes is not None and truth is not None  # a model of p(x | y) has data with labels
        known = features_for(evaluation, "auto").of(train, evaluation.say)
        value, error = mean_and_error((vote(known, classes, drawn, self.k) == asked).double())
        own, _ = mean_and_error((vote(known, classes, held_out, self.k) == truth).double())
        judge = f"{self.k} nearest of {len(known):,} training examples in {name}"
        return Result(value, error, {"judge": judge, "num_samples": len(asked), "held_out": round(own, 4)})
