"""The training loop: read from top to bottom, it is what `ssvif train` does.

Everything that varies with time is a function of the step number (batch, learning rate), so a run
that is stopped and resumed ends with the same weights as one that was not.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.tensorboard import SummaryWriter

from ssvif_core.data.batches import Batch, BatchMaker, WeightedPairs, prefetched
from ssvif_core.data.pairs import FramePair, list_pairs, read_pair
from ssvif_core.errors import SsvifError
from ssvif_core.network.fusion_network import FusionNetwork, luminance, upsample
from ssvif_core.training.checkpoint import load_checkpoint, save_checkpoint
from ssvif_core.training.config import DataSource, TrainingConfig
from ssvif_core.training.losses import fusion_losses, segmentation_losses
from ssvif_core.training.validation import validate

__all__ = ["Trainer", "load_sources"]

Progress = Callable[[int, dict[str, float]], None]


def load_sources(config: TrainingConfig) -> tuple[list[WeightedPairs], list[FramePair]]:
    """Read all training frames into memory.

    Returns:
        The sources to draw batches from, and the pairs that were kept out for validation.
    """
    sources, held_out = [], []
    for source in config.sources:
        pairs = _read_source(config.data_root, source)
        kept = pairs[:: source.holdout_every] if source.holdout_every else []
        names = {pair.name for pair in kept}
        held_out += kept
        sources.append(WeightedPairs([p for p in pairs if p.name not in names], source.share))
    return sources, held_out


def _read_source(root: Path, source: DataSource) -> list[FramePair]:
    folder = root / source.folder
    pairs = []
    for name, visible, thermal in list_pairs(folder):
        labels = folder / source.labels / f"{name}.png" if source.labels else None
        if labels is not None and not labels.is_file():
            labels = None
        pairs.append(read_pair(name, visible, thermal, labels, source.label_map))
    if source.labels and all(pair.labels is None for pair in pairs):
        raise SsvifError(f"No label image in {folder / source.labels} has the name of a frame.")
    return pairs


class Trainer:
    """One training run in one folder.

    Args:
        config: what to train.
        run_folder: receives `checkpoint.pt`, `config.json` and TensorBoard events.
        device: "cpu", "cuda", ...

    If the folder holds a checkpoint of the same configuration, the run goes on from there.

    Raises:
        SsvifError: data is missing, or the folder belongs to another configuration.
    """

    def __init__(self, config: TrainingConfig, run_folder: Path, device: str = "cpu") -> None:
        if config.threads:
            torch.set_num_threads(config.threads)
        cv2.setNumThreads(1)
        torch.manual_seed(config.seed)
        self.config, self.folder, self.device = config, run_folder, torch.device(device)
        sources, self.held_out = load_sources(config)
        self.batches = BatchMaker(
            sources, config.batch_size, config.crop, config.object_crops, config.seed
        )
        network = FusionNetwork(config.variant, len(config.classes)).to(self.device)
        self.history: list[dict[str, Any]] = []
        if config.initialise_from is not None:
            parent = load_checkpoint(config.initialise_from)
            _initialise(network, parent)
            self.history = [*parent.get("history", []), {k: parent[k] for k in ("config", "step")}]
        self.network: FusionNetwork = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = AveragedModel(
            self.network, multi_avg_fn=get_ema_multi_avg_fn(config.ema_decay)
        )
        self.optimizer = torch.optim.AdamW(_parameter_groups(self.network, config.weight_decay))
        self.step = 0
        weights = config.class_weights
        self.class_weights = None if weights is None else torch.tensor(weights, device=self.device)
        self._resume()

    @property
    def checkpoint_path(self) -> Path:
        return self.folder / "checkpoint.pt"

    def run(self, progress: Progress = lambda step, losses: None) -> None:
        """Train to the last step. `progress` is called after each with the losses."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "config.json").write_text(self.config.model_dump_json(indent=2))
        with SummaryWriter(str(self.folder), purge_step=self.step) as board:
            try:
                for batch in prefetched(self.batches, self.step, self.config.steps):
                    losses = self.train_step(batch)
                    self._record(board, losses)
                    progress(self.step, losses)
            finally:
                self.save()

    def train_step(self, batch: Batch) -> dict[str, float]:
        """One optimiser step; returns every loss term, unweighted, and their weighted `total`."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate(self.step)
        self._training_mode()
        terms = self.losses(batch)
        weights = self.config.loss.model_dump()
        total = sum(
            weights[name] * term * (weights["fusion"] if name in _FUSION_TERMS else 1.0)
            for name, term in terms.items()
        )
        assert isinstance(total, Tensor)
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), self.config.gradient_clip)
        self.optimizer.step()
        self.average.update_parameters(self.network)
        self.step += 1
        return {name: float(term.detach()) for name, term in {**terms, "total": total}.items()}

    def _training_mode(self) -> None:
        """Everything in training mode, but parts that are kept as they are in evaluation mode."""
        self.network.train()
        if not self.config.train_only:
            return
        for name, part in self.network.named_children():
            trained = name in self.config.train_only
            part.train(trained).requires_grad_(trained)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """All loss terms of a batch, unweighted."""
        visible, thermal, labels = (part.to(self.device, non_blocking=True) for part in batch)
        visible = visible.contiguous(memory_format=torch.channels_last)
        enabled = self.config.precision == "bfloat16"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=enabled):
            output = self.network(visible, thermal)
        # Logits at half size against every second label: as sharp as masks get, at a quarter cost.
        logits = upsample(output.logits.float())
        return {
            **fusion_losses(
                luminance(output.fused),
                luminance(visible),
                thermal,
                self.config.loss.sharpness,
                self.config.loss.contrast,
            ),
            **segmentation_losses(logits, labels[:, ::2, ::2], self.class_weights),
        }

    def learning_rate(self, step: int) -> float:
        """Linear warm-up, then a cosine to one hundredth."""
        c = self.config
        if step < c.warmup_steps:
            return c.learning_rate * (step + 1) / c.warmup_steps
        done = (step - c.warmup_steps) / max(1, c.steps - c.warmup_steps)
        return c.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done)))

    def save(self) -> None:
        save_checkpoint(
            self.checkpoint_path,
            {
                "config": self.config.model_dump_json(),
                "variant": self.config.variant,
                "classes": self.config.classes,
                "step": self.step,
                "history": self.history,
                "network": self.network.state_dict(),
                "average": self.average.module.state_dict(),
                "averaged": self.average.n_averaged,
                "optimizer": self.optimizer.state_dict(),
            },
        )

    def _resume(self) -> None:
        if not self.checkpoint_path.exists():
            return
        state = load_checkpoint(self.checkpoint_path)
        if state["config"] != self.config.model_dump_json():
            raise SsvifError(
                f"{self.folder} holds a run of another configuration: name another --run folder, "
                "or delete this one."
            )
        self.step = state["step"]
        self.network.load_state_dict(state["network"])
        self.average.module.load_state_dict(state["average"])
        self.average.n_averaged.copy_(state["averaged"])
        self.optimizer.load_state_dict(state["optimizer"])

    def _record(self, board: SummaryWriter, losses: dict[str, float]) -> None:
        if self.step % 20 == 0:
            for name, value in losses.items():
                board.add_scalar(f"loss/{name}", value, self.step)
            board.add_scalar("learning_rate", self.learning_rate(self.step - 1), self.step)
        last = self.step == self.config.steps
        if self.held_out and (self.step % self.config.validate_every == 0 or last):
            network = self.average.module
            assert isinstance(network, FusionNetwork)
            scores, pictures = validate(network, self.held_out, self.config.classes, self.device)
            for name, value in scores.items():
                board.add_scalar(f"validation/{name}", value, self.step)
            board.add_image("validation/pairs", pictures, self.step, dataformats="HWC")
        if self.step % self.config.checkpoint_every == 0:
            self.save()


_FUSION_TERMS = {"intensity", "gradient", "ssim", "decomposition"}


def _initialise(network: FusionNetwork, state: dict[str, Any]) -> None:
    """Take over the averaged weights whose names and shapes agree; the rest stays fresh."""
    own = network.state_dict()
    fitting = {k: v for k, v in state["average"].items() if k in own and v.shape == own[k].shape}
    network.load_state_dict(fitting, strict=False)


def _parameter_groups(network: nn.Module, decay: float) -> list[dict[str, object]]:
    """Weight decay for kernels only; norms, biases and branch scales go free."""
    kernels = [p for p in network.parameters() if p.ndim == 4 and p[0].numel() > 1]
    others = [p for p in network.parameters() if not (p.ndim == 4 and p[0].numel() > 1)]
    return [
        {"params": kernels, "weight_decay": decay},
        {"params": others, "weight_decay": 0.0},
    ]
