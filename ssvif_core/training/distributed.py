"""One process or several: the little that training has to know of `torchrun`.

    torchrun --nproc-per-node 2 -m -- ssvif_core.cli train config/training/ssvif.yaml

(Without the `--` torchrun takes a `--run` behind it for its own `--run-path`.)

Each process draws its own part of every batch; gradients are averaged by DistributedDataParallel.
A mean over some of the pixels (those with labels, those that a branch teaches, those that are
hidden) is one over those of all processes, see `Processes.whole`: where one has few of them they
would else weigh more, and where it has none those of the others less. What the fusion losses ask
for in some places alone (edges, flat, halo), and batch norm, know their own part of a batch only.
Without torchrun everything here is the identity.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from ssvif_core.errors import SsvifError

__all__ = ["ALONE", "Processes", "computes_bfloat16", "process_group", "usable_device"]


def computes_bfloat16(device: torch.device) -> bool:
    """Whether `device` has instructions for bfloat16; without them it is emulated, and a training
    step takes seven times as long as in float32 (measured on a CPU with AVX2 only).
    """
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return device.type == "cpu" and any(getattr(torch.cpu, n, bool)() for n in names)


@dataclass(frozen=True)
class Processes:
    """Which of how many processes this is, and the device that it trains on."""

    rank: int
    world: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this process writes files and speaks."""
        return self.rank == 0

    def wrap(self, module: nn.Module) -> nn.Module:
        """`module` with its gradients averaged over all processes.

        Wrap after `requires_grad` is set: a parameter that is trained must get a gradient in
        every step. Running statistics are those of the first process.
        """
        if self.world == 1 or not any(p.requires_grad for p in module.parameters()):
            return module
        return DistributedDataParallel(module, gradient_as_bucket_view=True)

    def part_of(self, batch_size: int) -> int:
        """Crops of a batch that each process draws.

        Raises:
            SsvifError: they do not divide it evenly.
        """
        part, left = divmod(batch_size, self.world)
        if left:
            sizes = [str(n * self.world) for n in (part, part + 1) if n]
            raise SsvifError(
                f"batch_size {batch_size} cannot be shared evenly by {self.world} processes: take "
                f"{' or '.join(sizes)}, or another number of processes."
            )
        return part

    def whole(self, part: torch.Tensor) -> torch.Tensor:
        """The sum over all processes of a tensor that each has its part of.

        Its gradient is `world` times that of the part, so that the mean over all processes, which
        is what they train by, is the gradient of the whole. All of them must ask for it. A loss may
        be any function f of it: each process has f'(whole) times the gradient of its own part, and
        the sum of these is the gradient of f(whole).
        """
        if self.world == 1:
            return part
        total = part.detach().clone()
        dist.all_reduce(total)
        return total + self.world * (part - part.detach())

    def mean(self, values: dict[str, float]) -> dict[str, float]:
        """Means over all processes, so that all of them decide alike."""
        if self.world == 1:
            return values
        packed = torch.tensor(list(values.values()), dtype=torch.float64, device=self.device)
        dist.all_reduce(packed)
        return dict(zip(values, (packed / self.world).tolist(), strict=True))

    def share(self, tensors: Iterable[torch.Tensor]) -> None:
        """Give every process the values that the first one has, in place."""
        for tensor in tensors if self.world > 1 else ():
            whole = tensor.contiguous()
            dist.broadcast(whole, 0)
            tensor.copy_(whole)

    def any(self, here: bool) -> bool:
        """Whether it is so in some process: all of them stop at the same step, or none."""
        return self.mean({"here": float(here)})["here"] > 0


#: Without torchrun.
ALONE = Processes(0, 1, torch.device("cpu"))


@contextmanager
def process_group(device: str = "auto") -> Iterator[Processes]:
    """Join the processes that torchrun started, or be the only one.

    Args:
        device: "auto" takes CUDA where there is one, else the CPU. Of several processes each
            takes a GPU of its own.

    Raises:
        SsvifError: there is no such device, or it is one GPU for several processes.
    """
    world, local = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("LOCAL_RANK", 0))
    here = int(os.environ.get("LOCAL_WORLD_SIZE", world))
    if here > 1 and device.startswith("cuda:"):
        raise SsvifError(
            f"{here} processes cannot share {device}, each needs a GPU of its own: give --device "
            "cuda, and choose GPUs with CUDA_VISIBLE_DEVICES."
        )
    if world > 1 and (device == "cuda" or (device == "auto" and torch.cuda.is_available())):
        device = f"cuda:{local}"
    chosen = usable_device(device)
    if world == 1:
        yield Processes(0, 1, chosen)
        return
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    try:
        yield Processes(dist.get_rank(), world, chosen)
    finally:
        dist.destroy_process_group()


def usable_device(name: str) -> torch.device:
    """The device of this name, tried; "auto" is CUDA where there is one, else the CPU.

    Raises:
        SsvifError: torch has no such device here.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    # By the build of torch, the driver and the name: RuntimeError, AssertionError ...
    except Exception as error:
        raise SsvifError(
            f"The device {name} cannot be used here ({str(error).splitlines()[0]}): take auto or "
            "cpu, or install the torch that fits this GPU."
        ) from error
    return device
