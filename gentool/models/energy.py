"""Energy-based models: p(x) is proportional to exp(-E(x)), and chains that roll down E draw from it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Annotated, Literal

import torch
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.nn.utils import parametrize
from typing_extensions import TypedDict

from gentool import nn as networks
from gentool.batch import Batch
from gentool.errors import UsageError
from gentool.models.base import GenerativeModel, Loss, Metrics, Minimizer, Pass
from gentool.probability import mcmc
from gentool.probability.energy_base import Fitted, ground
from gentool.probability.energy_chains import Chain, Method, mirrored, run_chain
from gentool.space import DataSpace


class Sampler(TypedDict):
    """What sampling can be asked for; None: as the chains of training.

    Attributes:
        start: noise (of what the network's energy is added to), or where chains of training stand that were kept.
        rounds: how often the chain is gone through; training goes through it once an update, from the buffer.
        denoise: whether the noise that data was given is taken off the chains' ends.
        method: of a transition.
        steps: transitions of a round.
        step_size: of the first transition.
        last_step_size: of the last.
        noise: deviation of the noise.
    """

    start: Literal["noise", "buffer"]
    rounds: PositiveInt
    denoise: bool
    method: Method | None
    steps: PositiveInt | None
    step_size: PositiveFloat | None
    last_step_size: PositiveFloat | None
    noise: PositiveFloat | None


SAMPLER: Sampler = {
    "start": "noise",
    "rounds": 20,
    "denoise": True,
    "method": None,
    "steps": None,
    "step_size": None,
    "last_step_size": None,
    "noise": None,
}


CHAIN: Chain = {
    "method": "langevin",
    "steps": 20,
    "step_size": 0.02,
    "last_step_size": 0.0005,
    "noise": None,
    "leapfrog_steps": 5,
    "largest_drift": 1.0,
}


class EnergyModel(GenerativeModel):
    """p(x) = exp(-E(x)) / Z, learned by E(data) - E(chains), chains being kept in a buffer from step to step.

    On points E(x) = f(x) + |x|² / (2 base²), so that Z is finite whatever the network f; levels live in the cube
    [-1, 1]^d, whose walls reflect chains. On either, f may tilt a Gaussian fitted to the data instead.

    Args:
        space: the data's facts.
        network: builds f: (space, classes) -> network.
        chain: the Markov chains of training.
        buffer: chains kept from one update to the next, 1 or more.
        restarts: fraction of an update's chains that restart from noise, 0 to 1.
        alpha: weight of the squared energies, 0 or more; without it energies drift.
        data_noise: standard deviation of the noise added to data, in model space, 0 or more; without it integer levels
            are spikes that no chain finds.
        base: points only: standard deviation of the Gaussian base measure that the network tilts, in units of the
            data's.
        principal_components: free directions, 0 or more and fewer than dimensions, of a Gaussian that is fitted to the
            data, which the network tilts and where chains start. None: for points the Gaussian of base; for images
            none, and chains reflect at the walls of the cube [-1, 1]^d.
        conditional: whether E(x, y) depends on the label.
        sampler: what sampling does unless asked otherwise.

    Raises:
        UsageError: of text, whose symbols have no gradient.

    Reference: Implicit Generation and Modeling with Energy-Based Models, Yilun Du and Igor Mordatch, 2019,
        https://arxiv.org/abs/1903.08689
    """

    replay: Tensor
    replay_labels: Tensor

    def __init__(
        self,
        space: DataSpace,
        *,
        network: Callable[..., nn.Module] = networks.energy,
        chain: Chain = CHAIN,
        buffer: PositiveInt = 10000,
        restarts: Annotated[float, Field(ge=0, le=1)] = 0.05,
        alpha: NonNegativeFloat = 0.001,
        data_noise: NonNegativeFloat = 0.08,
        base: PositiveFloat = 2.0,
        principal_components: NonNegativeInt | None = None,
        conditional: bool = False,
        sampler: Sampler = SAMPLER,
    ) -> None:
        super().__init__(space, sampler)
        self.condition(conditional)
        if not space.is_points and not space.is_image:
            raise UsageError(f"an energy needs a gradient with respect to x, and x of shape {space.shape} has none")
        self.training_chain, self.base, self.principal_components = chain, base, principal_components
        self.restarts, self.alpha, self.data_noise = restarts, alpha, data_noise
        self.network = network(space, space.classes if conditional else 0)
        self.ground = ground(space, base, principal_components)
        self.register_buffer("replay", self.ground.draw(buffer))
        self.register_buffer("replay_labels", self.draw_labels(buffer) if conditional else torch.zeros(0).long())
        self._measured: dict[str, float] = {}

    @torch.no_grad()
    def begin(self, data: Pass) -> None:
        """Fit the Gaussian of principal components, if there is one, to data with its noise; chains begin there."""
        if isinstance(self.ground, Fitted):
            self.ground.fit((self.space.to_model(batch.x) for batch in data()), self.data_noise)
            self.replay.copy_(self.ground.draw(len(self.replay)))

    def train_step(self, batches: Iterator[Batch], optimizers: Minimizer) -> Metrics:
        """Take one step down the energy of data and up that of chains."""
        return optimizers.minimize("model", self.loss, batches)

    def loss(self, batch: Batch) -> Loss:
        """Return mean E(x+) - mean E(x-) + alpha mean (f(x+)² + f(x-)²), x+ data and x- chains; moves the chains on.

        Args:
            batch: the examples.

        Returns:
            total; and the terms data and chain (mean energies), gap = data - chain, and acceptance of the chains.
        """
        x = self._seen(batch.x)
        chains, y, acceptance = self._go_on(len(x))
        labels = torch.cat([batch.y, y]) if self.conditional and batch.y is not None and y is not None else None
        both = torch.cat([x, chains])
        f = self.network(both, labels)
        data, drawn = (f + self.ground(both)).chunk(2)
        gap = data.mean() - drawn.mean()
        terms = {"data": data.mean().detach(), "chain": drawn.mean().detach(), "gap": gap.detach()}
        return Loss(gap + self.alpha * 2 * f.square().mean(), terms | {"acceptance": acceptance})

    @torch.no_grad()
    def _go_on(self, n: int) -> tuple[Tensor, Tensor | None, Tensor]:
        """Take n chains from the buffer, some anew from noise, run them and put them back; return them as they end.

        Args:
            n: chains.

        Returns:
            (n, *space.shape) in model space, their labels, and their acceptance.
        """
        device = self.replay.device
        rows = torch.randperm(len(self.replay), device=device)[:n]
        if len(rows) < n:  # a buffer smaller than the batch
            rows = torch.randint(len(self.replay), (n,), device=device)
        start, y = self.replay[rows], self.replay_labels[rows] if self.conditional else None
        anew = torch.rand(n, device=device) < self.restarts
        start = torch.where(anew.reshape(-1, *[1] * (start.dim() - 1)), self.ground.draw(n).to(device), start)
        if y is not None:
            y = torch.where(anew, self.draw_labels(n).to(device), y)
            self.replay_labels[rows] = y
        run = self._run(start, partial(self._energy, y=y), self.training_chain)
        self.replay[rows] = run.frames[-1]
        return run.frames[-1], y, run.acceptance

    @torch.no_grad()
    def report(self, data: Pass) -> Metrics:
        """Return the mean energies of a split, with its noise, and of the buffer: training keeps them alike."""
        energies = [self._free_energy(self._seen(batch.x), batch.y) for batch in data()]
        y = self.replay_labels if self.conditional else None
        return {"data": torch.cat(energies).mean(), "buffer": self._energy(self.replay, y).mean()}

    @torch.no_grad()
    def energy(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Return E(x, y), or -log sum_y p(y) exp(-E(x, y)) where a conditional model is given no label.

        Args:
            x: (batch, *space.shape), in data space.
            y: (batch,) labels, or None.

        Returns:
            (batch,) nats, up to a constant.
        """
        return self._free_energy(self.space.to_model(x), y)

    def fields(self) -> dict[str, Callable[[Tensor], Tensor]]:
        """Return the energy, and the score -grad E, as functions of points (n, d) in data space."""

        def energy(x: Tensor) -> Tensor:
            return self._free_energy(self.space.to_model(x), None)

        def score(x: Tensor) -> Tensor:
            with torch.enable_grad():
                x = x.detach().requires_grad_()
                (slope,) = torch.autograd.grad(energy(x).sum(), x)
            return -slope

        return {"energy": energy, "score": score}

    @torch.no_grad()
    def sample(self, n: int, y: Tensor | None = None) -> Tensor:
        """Run n chains by the sampler's knobs and take their ends."""
        return self.chain(n, y, frames=1)[-1]

    @torch.no_grad()
    def chain(self, n: int, y: Tensor | None = None, *, frames: int) -> Tensor:
        """Return where the chains of `sample(n, y)` stand on their way, its samples last.

        Args:
            n: number of samples.
            y: (n,) labels of a conditional model; None draws them.
            frames: how many moments.

        Returns:
            (frames, n, *space.shape), in data space.
        """
        y = self.labels(n, y)
        energy = partial(self._energy, y=y)
        run = self._run(self._start(n, y), energy, self._sampling(), self.sampler["rounds"], frames)
        self._measured = {"acceptance": float(run.acceptance)}
        *way, end = run.frames
        return torch.stack([self.space.quantise(self.space.to_data(x)) for x in [*way, self._denoised(end, energy)]])

    @torch.no_grad()
    def complete(self, x: Tensor, known: Tensor, y: Tensor | None = None) -> Tensor:
        """Return x with its unknown part drawn by chains that see the known part and cannot move it.

        Args:
            x: (batch, *space.shape), in data space.
            known: (batch, *space.shape), True where x is given.
            y: (batch,) labels of a conditional model; None draws them.

        Returns:
            (batch, *space.shape), in data space.
        """
        y = self.labels(len(x), y)
        given = self.space.to_model(x)

        def energy(z: Tensor) -> Tensor:
            return self._energy(torch.where(known, given, z), y)

        run = self._run(self._start(len(x), y), energy, self._sampling(), self.sampler["rounds"])
        drawn = self.space.quantise(self.space.to_data(self._denoised(run.frames[-1], energy)))
        return torch.where(known, x, drawn)

    def remarks(self) -> dict[str, float]:
        """Return the acceptance of the chains drawn last."""
        return self._measured

    def _sampling(self) -> Chain:
        """The training's chain, but for what the sampler says."""
        chain = self.training_chain.copy()
        for key in ("method", "steps", "step_size", "last_step_size", "noise"):
            if self.sampler[key] is not None:
                chain[key] = self.sampler[key]
        return chain

    def _start(self, n: int, y: Tensor | None) -> Tensor:
        if self.sampler["start"] == "noise":
            return self.ground.draw(n).to(self.replay.device)
        if y is None:
            return self.replay[torch.randint(len(self.replay), (n,), device=self.replay.device)]
        fits = (self.replay_labels == y[:, None]).float()
        fits = torch.where(fits.sum(1, keepdim=True) > 0, fits, torch.ones_like(fits))
        return self.replay[torch.multinomial(fits, 1).squeeze(1)]

    def _seen(self, x: Tensor) -> Tensor:
        """Bring data into model space, with its noise."""
        x = self.space.to_model(x)
        return self._walled(x + self.data_noise * torch.randn_like(x) if self.data_noise else x)

    def _denoised(self, x: Tensor, energy: Callable[[Tensor], Tensor]) -> Tensor:
        """Return E[x | x + noise] = x - data_noise² grad E(x): the energy is that of data with noise (Tweedie)."""
        if not self.data_noise or not self.sampler["denoise"]:
            return x
        with self._still():
            slope = mcmc.state_at(lambda z: -energy(self._walled(z)), x, gradient=True).gradient
        return x + self.data_noise**2 * slope

    def _walled(self, x: Tensor) -> Tensor:
        """Bring x back into the cube, where it has walls."""
        return mirrored(x) if self.ground.walls else x

    def _energy(self, x: Tensor, y: Tensor | None) -> Tensor:
        """Return E (batch,) of x in model space."""
        energy: Tensor = self.network(x, y) + self.ground(x)
        return energy

    def _free_energy(self, x: Tensor, y: Tensor | None) -> Tensor:
        if not self.conditional or y is not None:
            return self._energy(x, y if self.conditional else None)
        return -self.each_label(x, lambda label: -self._energy(x, label)).logsumexp(1)

    def _run(
        self, start: Tensor, energy: Callable[[Tensor], Tensor], chain: Chain, rounds: int = 1, frames: int = 1
    ) -> mcmc.Run:
        with self._still():
            return run_chain(chain, energy, start, rounds=rounds, frames=frames, walls=self.ground.walls)

    @contextmanager
    def _still(self) -> Iterator[None]:
        """Hold the network as it is: chains are no training, and spectral norms need no following on the way."""
        mode = self.network.training
        self.network.eval()
        try:
            with parametrize.cached():
                yield
        finally:
            self.network.train(mode)
