"""Where a model runs and in what precision."""

from typing import Literal

import torch
from pydantic import PositiveInt
from torch import nn

from gentool.errors import UsageError
from gentool.nn.network import Network
from gentool.space import DataSpace

Kind = Literal["auto", "cpu", "cuda", "mps"]


class Device:
    """Placement, precision, memory format and compilation of every network of a model.

    Only networks ever leave fp32 (see `nn.network.Network`); losses and likelihoods never do.

    Args:
        kind: which device; auto takes CUDA, else MPS, else the CPU.
        precision: of the networks, never of a loss: fp32 | bf16; auto: what was measured to be fastest.
        channels_last: memory format of convolutions: true | false; auto: what was measured to be fastest.
        compile: torch.compile the networks: true | false; auto: what was measured to be fastest.
        processes: processes that train together on this machine, each on its slice of the batch.

    Raises:
        UsageError: if the device is not here.
    """

    def __init__(
        self,
        *,
        kind: Kind = "auto",
        precision: Literal["auto", "fp32", "bf16"] = "auto",
        channels_last: bool | Literal["auto"] = "auto",
        compile: bool | Literal["auto"] = "auto",
        processes: PositiveInt = 1,
    ) -> None:
        self.kind = _present(kind)
        best = measured(self.kind)
        self.precision: Literal["fp32", "bf16"] = best[0] if precision == "auto" else precision
        self.channels_last = best[1] if channels_last == "auto" else channels_last
        self.compile = best[2] if compile == "auto" else compile
        self.processes = processes

    @property
    def torch(self) -> torch.device:
        """The torch device of this process."""
        if self.kind == "cuda" and torch.distributed.is_initialized():
            return torch.device("cuda", torch.distributed.get_rank() % torch.cuda.device_count())
        return torch.device(self.kind)

    def place(self, model: nn.Module) -> None:
        """Move a model here, and set up its networks."""
        model.to(self.torch)
        for module in model.modules():
            space = getattr(module, "space", None)
            if isinstance(space, DataSpace):  # else every step would wait for its constants to be copied
                setattr(module, "space", space.to(self.torch))  # noqa: B010, a module's attributes are typed as its parts
            if isinstance(module, Network):
                module.place(precision=self.precision, channels_last=self.channels_last, compile=self.compile)

    def describe(self) -> str:
        """Say in a few words what was chosen."""
        words: list[str] = [self.kind, self.precision]
        words += ["channels last"] if self.channels_last else []
        words += ["compiled"] if self.compile else []
        words += [f"{self.processes} processes"] if self.processes > 1 else []
        return ", ".join(words)


def measured(kind: str) -> tuple[Literal["fp32", "bf16"], bool, bool]:
    """Return (precision, channels_last, compile) as they were measured to be fastest; see docs/benchmarks.md."""
    if kind == "cuda" and torch.cuda.is_bf16_supported():
        return "bf16", True, False
    if kind == "cpu" and (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()):
        return "bf16", True, False
    return "fp32", kind == "cpu", False


def _present(kind: Kind) -> Literal["cpu", "cuda", "mps"]:
    here: dict[Literal["cpu", "cuda", "mps"], bool] = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if kind == "auto":
        return next(name for name, present in here.items() if present)
    if not here[kind]:
        raise UsageError(f"device={kind} is absent on this machine; present: {', '.join(k for k in here if here[k])}")
    return kind
