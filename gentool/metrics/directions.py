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
    "generalisation_gap": "lower",
    "bayes_accuracy": "higher",
    "frechet": "lower",
    "kernel_distance": "lower",
    "precision": "higher",
    "recall": "higher",
    "density": None,
    "coverage": "higher",
    "classifier_score": "higher",
    "class_histogram": "lower",
    "label_accuracy": "higher",
    "modes": "higher",
    "high_quality": "higher",
    "reverse_kl": "lower",
    "sliced_wasserstein": "lower",
    "wasserstein": "lower",
    "mmd": "lower",
    "js": "lower",
    "kl_quadrature": "lower",
    "memorisation": "lower",
    "data_copying": None,
    "linear_probe": "higher",
    "knn_accuracy": "higher",
    "samples_per_second": "higher",
    "network_evaluations": "lower",
    "parameters": None,
    "training_seconds": None,
    "checkpoint_bytes": None,
}
"""By the name a number has in `metrics.json`; None: neither way is better. A name that is not here is not ranked."""
