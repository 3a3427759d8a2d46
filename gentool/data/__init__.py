"""Datasets: what is read, how it is split, and how batches are drawn from it."""
