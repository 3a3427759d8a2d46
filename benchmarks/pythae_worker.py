"""pythae's trainer, as its documentation uses it, one epoch a turn; runs in the peers' environment (see vae.py)."""

import logging
import sys
import tempfile
import time

import numpy as np
import torch
from pythae.data.datasets import BaseDataset
from pythae.models import VAE, VAEConfig
from pythae.trainers import BaseTrainer, BaseTrainerConfig
from turns import Serve


def main(data: str, batch_size: int) -> None:
    """Train when told to.

    Args:
        data: `.npz` with x (n, 28, 28) of 0 and 255.
        batch_size: examples a batch.
    """
    serve = Serve()
    logging.disable(logging.INFO)
    x = torch.from_numpy(np.load(data)["x"] // 255).unsqueeze(1)
    dataset = BaseDataset(x, torch.zeros(len(x)))
    # its default networks are the ones compared: 784-512-(16, 16) and 16-512-784, ReLU
    model = VAE(VAEConfig(input_dim=(1, 28, 28), latent_dim=16, reconstruction_loss="bce"))
    with tempfile.TemporaryDirectory() as folder:
        config = BaseTrainerConfig(
            output_dir=folder, per_device_train_batch_size=batch_size, learning_rate=1e-3, num_epochs=1, no_cuda=True
        )
        trainer = BaseTrainer(model, dataset, training_config=config)
        trainer.prepare_training()
        epoch = 0
        while serve.asked():
            epoch += 1
            started = time.perf_counter()
            trainer.train_step(epoch)  # one epoch: its loop, loader, optimiser and progress bar
            serve.answer(len(x) / (time.perf_counter() - started))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
