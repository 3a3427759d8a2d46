"""Invertible maps from data to noise and back, each with the log-determinant of its Jacobian."""

from gentool.probability.transforms.base import Compose, Flatten, Permute, Transform
from gentool.probability.transforms.glow import glow
from gentool.probability.transforms.realnvp import realnvp

__all__ = ["Compose", "Flatten", "Permute", "Transform", "glow", "realnvp"]
