"""Which way each number is better: what `compare` ranks by."""

from typing import Literal

Better = Literal["lower", "higher"]

BETTER: dict[str, Better | None] = {
    "nll": "lower",
    "elbo": "higher",
    "bits_per_dim": "lower",
    "nats_per_token": "lower",
    "entropy_gap": "lower",
    "kl": "lower",
    "amortisation_gap": "lower",
    "approximation_gap": "lower",
    "train_test_gap": "lower",
    "bayes_accuracy": "higher",
    "frechet": "lower",
    "kernel": "lower",
    "classifier_score": "higher",
    "class_histogram": "lower",
    "precision": "higher",
    "recall": "higher",
    "density": "higher",
    "coverage": "higher",
    "sliced_wasserstein": "lower",
    "wasserstein": "lower",
    "mmd": "lower",
    "js": "lower",
    "jensen_shannon": "lower",
    "modes": "higher",
    "high_quality": "higher",
    "reverse_kl": "lower",
    "memorisation": None,
    "linear_probe": "higher",
    "knn": "higher",
    "samples_per_second": "higher",
    "network_evaluations": "lower",
    "parameters": None,
    "seconds": None,
    "bytes": None,
}
"""By the name a number has in `metrics.json`; None: neither way is better. A name that is not here is not ranked."""
