"""The training loop: read from top to bottom, it is what `ssvif train` does.

Everything that varies with time is a function of the step number (batch, window, learning rate), so
a run that is stopped and resumed ends with the same weights as one that was not. What a step asks
for is the business of its stage (`stages.py`).
"""

from __future__ import annotations

import logging
import math
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ssvif_core.data.batches import Batch, BatchMaker, prefetched
from ssvif_core.data.degrade import drop_modality
from ssvif_core.errors import SsvifError
from ssvif_core.interrupts import Interrupts
from ssvif_core.training.anchors import LabelAnchor
from ssvif_core.training.checkpoint import load_checkpoint, save_checkpoint
from ssvif_core.training.collapse import CollapseAlarm, CollapseFigures, measure
from ssvif_core.training.config import StageConfig, TrainingConfig, differences
from ssvif_core.training.distributed import ALONE, Processes
from ssvif_core.training.frames import joined, load_sources
from ssvif_core.training.guides import Guides
from ssvif_core.training.initialise import Start, initialise, sha256_of_start
from ssvif_core.training.inputs import Inputs, half_labels
from ssvif_core.training.prototypes import PrototypeAnchor
from ssvif_core.training.recorder import Recorder
from ssvif_core.training.stage import Models, Stage, StageContext
from ssvif_core.training.stages import (
    STAGES,
    check_labels,
    masks_after,
    trained_parts,
    unseen_classes,
)
from ssvif_core.training.weighting import make_weighting

__all__ = ["Trainer"]

logger = logging.getLogger("ssvif.training")

#: They wait for the end of the step: a checkpoint never holds half of one.
STOPPING = (signal.SIGINT, signal.SIGTERM)

#: What to do about a folder that holds another run.
ANOTHER_FOLDER = (
    "name another folder (--run of `ssvif train`, --output of `ssvif adapt`), or delete this one"
)

Progress = Callable[[int, dict[str, float]], None]


class Trainer:
    """One training run in one folder.

    Args:
        config: what to train.
        run_folder: receives `checkpoint.pt`, the journal, pictures, TensorBoard events, a report.
        processes: this process among those that train together, and its device.

    If the folder holds a checkpoint of the same configuration and the same weights to start from,
    the run goes on from there; that file is needed no more.

    Raises:
        SsvifError: the processes cannot share a batch evenly, data is missing, a stage asks for
            what there is not, or the folder belongs to another configuration or start.
    """

    def __init__(
        self, config: TrainingConfig, run_folder: Path, processes: Processes | None = None
    ) -> None:
        self.processes = processes or ALONE
        self.device = self.processes.device
        crops = self.processes.part_of(config.batch_size)
        if config.threads:
            torch.set_num_threads(config.threads)
        cv2.setNumThreads(1)
        torch.manual_seed(config.seed)
        self.config, self.folder = config, run_folder
        trained_parts(config)  # what is wrong with a later stage is said before anything is read
        frames = load_sources(config)
        self.frames, self.held_out, self.skipped = frames, frames.held_out, frames.skipped
        self.batches = BatchMaker(
            frames.sources,
            crops,
            config.crop,
            config.object_crops,
            (config.seed, self.processes.rank),
            config.photometric,
            config.labelled_crops,
        )
        check_labels(config, frames, self.batches.class_pixels)
        if self.processes.first:
            for doubt in (*config.doubts(), *unseen_classes(config, self.batches.class_pixels)):
                logger.warning("%s", doubt)
        models = Models(config).to(self.device)
        start, source = Start([], None), config.initialise_from
        self.start_sha256 = None if source is None else sha256_of_start(source)
        # A run that goes on has all of it in its checkpoint; where it began may be gone.
        if source is not None and not self.checkpoint_path.exists():
            start = initialise(models, source, config.classes, self._first_batches)
        self.history, self.start_mode = start.history, start.mask_mode
        self.models: Models = models.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = AveragedModel(
            self.models, multi_avg_fn=get_ema_multi_avg_fn(config.ema_decay)
        )
        weights = config.class_weights
        class_weights = None if weights is None else torch.tensor(weights, device=self.device)
        self.context = StageContext(
            config,
            self.models,
            self.processes,
            make_weighting(config.weighting),
            class_weights,
            self.averaged,
            start.mask_mode,
        )
        if not self.checkpoint_path.exists():
            self.context.guides = Guides.opened(config, self._first_batches, self.device)
        self.alarm = CollapseAlarm(config.collapse)
        self.step = 0
        self.stage: Stage | None = None
        self._resumed: dict[str, Any] | None = self._resume()

    @property
    def averaged(self) -> Models:
        """The moving average of all weights: what is validated and exported."""
        models = self.average.module
        assert isinstance(models, Models)
        return models

    @property
    def mask_mode(self) -> str | None:
        """What the masks of this run are in the end, one of `ssvif_core.models.MODES`.

        What they are by now, `context.mask_mode` says, and a checkpoint. Where no stage trains the
        segmentation head or the trunk below it, they are what they were where the run started. None
        if it started with none of the same classes, or if the trunk is trained without the head,
        which then reads features that it never saw.
        """
        return self._masks_after(None)

    def _masks_after(self, step: int | None) -> str | None:
        labelled = self.frames.labelled > 0
        return masks_after(self.config, self.start_mode, step, labelled)

    @property
    def checkpoint_path(self) -> Path:
        return self.folder / "checkpoint.pt"

    def run(self, progress: Progress = lambda step, values: None) -> None:
        """Train to the last step. `progress` is called after each with its values.

        Raises:
            KeyboardInterrupt: asked to stop; everything up to the last whole step is saved.
            CollapseError: label-free masks lost their meaning; saved likewise.
            SsvifError: a loss is not finite, and the last checkpoint is kept; or data cannot be
                read any longer, and it is saved likewise.
        """
        with Recorder(self) as recorder, Interrupts(STOPPING) as interrupts:
            end = 0
            for stage in self.config.stages:
                end += stage.steps
                if self.step >= end:
                    continue
                self._enter(stage, start=end - stage.steps)
                assert self.stage is not None
                for batch in self._coming(end):
                    values = self.train_step(batch)
                    try:
                        recorder.record(values)
                        progress(self.step, values)
                        if self.processes.any(interrupts.came):
                            raise KeyboardInterrupt
                    except BaseException:
                        self.save()
                        raise
            if self.stage is not None:  # or nothing was left to do: runs that start from it go on
                self.save()
            recorder.finish()

    def _coming(self, end: int) -> Iterator[Batch]:
        """Batches of the stage up to step `end`. When one cannot be made, the run is saved."""
        assert self.stage is not None
        try:
            yield from prefetched(self.stage.crops(self.batches), self.step, end)
        except Exception:
            self.save()
            raise

    def _first_batches(self) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Frames for the statistics of batch norm of a model that is trained further."""
        batches = (self.batches.at(step) for step in range(8))
        return [(batch.visible, batch.thermal) for batch in batches]

    def _enter(self, config: StageConfig, start: int) -> None:
        """Begin a stage, or go on in it: freeze, wrap, and make its optimiser."""
        if config.kind in ("warm_up", "joint") and self.context.anchor is None:
            self.context.anchor = self._make_anchor()
        self.stage = STAGES[config.kind](config, self.context, start)
        groups = _parameter_groups(self.stage.parameters(), self.config.weight_decay)
        self.optimizer = torch.optim.AdamW(groups)
        self._stage_start, self._stage_config = start, config
        if self._resumed is not None and self.step > start:
            self.optimizer.load_state_dict(self._resumed["optimizer"])
        self._resumed = None

    def _make_anchor(self) -> LabelAnchor | PrototypeAnchor:
        c = self.config
        if c.consistency.mode != "clusters":
            return LabelAnchor(c.loss, self.context.class_weights, self.processes)
        anchor = PrototypeAnchor.found(
            self.averaged.network,
            joined([source.pairs for source in self.batches.sources]),
            c.consistency,
            c.seed,
            self.processes,
        )
        # Running statistics differ from process to process, and so would the features, the
        # prototypes, and what a cluster's number means.
        self.processes.share(anchor.tensors())
        return anchor

    def train_step(self, batch: Batch) -> dict[str, float]:
        """One optimiser step; returns what `Stage.backward` says, and `learning_rate`."""
        assert self.stage is not None
        rate = self.learning_rate()
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.stage.training_mode()
        self.optimizer.zero_grad(set_to_none=True)
        values = self.stage.backward(self.inputs(batch), self.step)
        trained = [parameter for _, parameter in self.stage.parameters()]
        norm = nn.utils.clip_grad_norm_(trained, self.config.gradient_clip)
        if not (math.isfinite(values["loss/total"]) and math.isfinite(float(norm))):
            raise SsvifError(self._not_finite())
        self.optimizer.step()
        self.average.update_parameters(self.models)
        self.step += 1
        self.context.mask_mode = self._masks_after(self.step)
        return {**values, "learning_rate": rate}

    def _not_finite(self) -> str:
        saved = f" {self.checkpoint_path} holds the last good state."
        return (
            f"The loss or its gradient is not finite at step {self.step}: lower the learning rate, "
            f"or use precision float32.{saved if self.checkpoint_path.exists() else ''}"
        )

    def inputs(self, batch: Batch) -> Inputs:
        """A batch on the device, in some of its crops with one camera lost."""
        parts = batch._replace(labels=half_labels(batch.labels, self.step))
        visible, thermal, labels = (part.to(self.device, non_blocking=True) for part in parts)
        lost = torch.zeros(len(labels), dtype=torch.int8, device=self.device)
        whole = (visible, thermal)
        if self.config.modality_dropout > 0:
            rng = np.random.default_rng([self.config.seed, self.processes.rank, self.step, 2])
            generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
            visible, thermal, lost = drop_modality(
                visible,
                thermal,
                generator,
                self.config.modality_dropout,
                thermal_part=self.config.modality_dropout_thermal,
            )
        return Inputs(visible, thermal, labels, lost, *whole)

    def learning_rate(self) -> float:
        """Of the next step: linear warm-up, then a cosine to one hundredth, for each stage anew."""
        c, step = self._stage_config, self.step - self._stage_start
        if step < c.warmup_steps:
            return c.learning_rate * (step + 1) / c.warmup_steps
        done = (step - c.warmup_steps) / max(1, c.steps - c.warmup_steps)
        return c.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done)))

    def look_for_collapse(self) -> dict[str, float]:
        """Figures of label-free masks on a fixed batch; raises CollapseError when they are bad."""
        batch = self.batches.at(0)
        network = self.averaged.network.eval()
        figures = measure(
            lambda v, t: network(v, t).logits,
            batch.visible.to(self.device),
            batch.thermal.to(self.device),
        )
        values = self.processes.mean({n: float(x) for n, x in vars(figures).items()})
        self.alarm.look(CollapseFigures(**values))
        return {f"collapse/{name}": value for name, value in values.items()}

    def save(self) -> None:
        """Write the checkpoint (the first process does)."""
        if not self.processes.first:
            return
        average = self.averaged
        state = {
            "config": self.config.model_dump_json(),
            "variant": self.config.variant,
            "classes": self.config.classes,
            "mode": self.context.mask_mode,
            "start_mode": self.start_mode,
            "step": self.step,
            "processes": self.processes.world,
            "history": self.history,
            "start_sha256": self.start_sha256,
            "network": self.models.network.state_dict(),
            "average": average.network.state_dict(),
            "averaged": self.average.n_averaged,
            "weighting": self.context.weighting.state_dict(),
            "bad_looks": self.alarm.bad,
            "optimizer": None if self.stage is None else self.optimizer.state_dict(),
        }
        for models, suffix in ((self.models, ""), (average, "_average")):
            for name, helper in models.helpers().items():
                state[f"{name}{suffix}"] = helper.state_dict()
        if isinstance(self.context.anchor, PrototypeAnchor):
            state["anchor"] = self.context.anchor.state_dict()
        save_checkpoint(self.checkpoint_path, state | self.context.guides.state_dict())

    def _resume(self) -> dict[str, Any] | None:
        if not self.checkpoint_path.exists():
            return None
        state = load_checkpoint(self.checkpoint_path)
        if keys := differences(state["config"], self.config):
            raise SsvifError(
                f"{self.folder} holds a run of another configuration, which differs in "
                f"{', '.join(keys)}: {ANOTHER_FOLDER}."
            )
        # A run from before starts were kept says nothing of its own, and a start may be gone.
        started = state.get("start_sha256") or self.start_sha256
        if started != (self.start_sha256 or started):
            raise SsvifError(
                f"{self.folder} holds a run that started from other weights: "
                f"{self.config.initialise_from} was replaced since. To do: {ANOTHER_FOLDER}."
            )
        self.step, self.history = state["step"], state["history"]
        self.start_sha256, self.start_mode = started, self._start_mode(state)
        self.context.mask_mode = self._masks_after(self.step)
        before, now = state.get("processes", self.processes.world), self.processes.world
        if before != now and self.processes.first:
            logger.warning(
                "%s was trained by %d processes and goes on with %d: from here on its batches are "
                "others than they would have been.", self.folder, before, now,
            )  # fmt: skip
        average = self.averaged
        self.models.network.load_state_dict(state["network"])
        average.network.load_state_dict(state["average"])
        for models, suffix in ((self.models, ""), (average, "_average")):
            for name, helper in models.helpers().items():
                helper.load_state_dict(state[f"{name}{suffix}"])
        self.average.n_averaged.copy_(state["averaged"])
        self.context.weighting.load_state_dict(state["weighting"])
        self.alarm.bad = state["bad_looks"]
        if "anchor" in state:
            margin = self.config.consistency.margin
            self.context.anchor = PrototypeAnchor.restored(
                state["anchor"], self.models.network, margin, self.processes
            )
        self.context.guides = Guides.restored(state, self.device)
        return state

    def _start_mode(self, state: dict[str, Any]) -> str | None:
        """What the masks were where the run started.

        A run from before this was kept says what they will be in the end: that is what they were,
        unless it teaches them itself.
        """
        if "start_mode" in state or masks_after(self.config, None) is not None:
            return state.get("start_mode")
        return str(state["mode"]) if state["mode"] else None


def _parameter_groups(
    parameters: list[tuple[str, nn.Parameter]], decay: float
) -> list[dict[str, object]]:
    """Weight decay for kernels only; norms, biases and branch scales go free."""
    kernels = [p for _, p in parameters if p.ndim == 4 and p[0].numel() > 1]
    others = [p for _, p in parameters if not (p.ndim == 4 and p[0].numel() > 1)]
    return [
        {"params": kernels, "weight_decay": decay},
        {"params": others, "weight_decay": 0.0},
    ]
