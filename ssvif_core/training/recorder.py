"""What a run leaves behind while it trains: journal, TensorBoard, pictures, checkpoints, report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch.utils.tensorboard import SummaryWriter

from ssvif_core.training.collapse import CollapseError
from ssvif_core.training.journal import RunJournal
from ssvif_core.training.report import write_report

if TYPE_CHECKING:
    from ssvif_core.training.trainer import Trainer

__all__ = ["Recorder"]

#: Steps between two entries of the journal.
EVERY = 20
#: Pairs that are shown where none is held out.
SAMPLES = 4


class Recorder:
    """Looks at a trainer after each step; only the first process writes.

    Args:
        trainer: whose run is recorded.
    """

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer
        self._writes = trainer.processes.first

    def __enter__(self) -> Recorder:
        trainer = self.trainer
        if self._writes:
            trainer.folder.mkdir(parents=True, exist_ok=True)
            config = trainer.config.model_dump_json(indent=2)
            (trainer.folder / "config.json").write_text(config, encoding="utf-8")
            if trainer.skipped:
                text = "\n".join(trainer.skipped) + "\n"
                (trainer.folder / "skipped.txt").write_text(text, encoding="utf-8")
            self.journal = RunJournal(trainer.folder, trainer.step, trainer.device)
            # What is left of later steps goes; the step that a run goes on from stays.
            self.board = SummaryWriter(str(trainer.folder), purge_step=trainer.step + 1)
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if not self._writes:
            return
        if error is not None:
            reason = str(error) or type(error).__name__
            collapsed = isinstance(error, CollapseError)
            if collapsed:
                self._validate()  # the pictures show it
            self.journal.stop(self.trainer.step, reason, collapsed)
        self.board.close()
        # Stopped, collapsed or finished: there is always something to look at.
        if self.journal.read():
            write_report(self.trainer.folder)

    def record(self, values: dict[str, float]) -> None:
        """Take the values of the step that was just made; validate and save when it is time.

        Raises:
            CollapseError: see `Trainer.look_for_collapse`.
        """
        trainer, config = self.trainer, self.trainer.config
        last = trainer.step == config.steps
        if self._writes and (trainer.step % EVERY == 0 or last):
            self._write(values)
        if last or trainer.step % config.validate_every == 0:
            self._validate()
        if self._watches_clusters and trainer.step % config.collapse.every == 0:
            self._write(trainer.look_for_collapse())
        if trainer.step % config.checkpoint_every == 0:
            trainer.save()  # last: it holds the bad looks, this step's too

    @property
    def _watches_clusters(self) -> bool:
        stage = self.trainer.stage
        return (
            self.trainer.config.mask_mode == "clusters"
            and stage is not None
            and stage.config.kind == "joint"
        )

    def _write(self, values: dict[str, float]) -> None:
        if not self._writes:
            return
        stage = self.trainer.stage
        assert stage is not None
        self.journal.append(self.trainer.step, stage.config.kind, values)
        for name, value in values.items():
            self.board.add_scalar(name, value, self.trainer.step)

    def _validate(self) -> None:
        """Score the held-out pairs; where there are none, show some that are trained on."""
        trainer = self.trainer
        if not self._writes:
            return
        first = trainer.batches.sources[0].pairs
        pairs = trainer.held_out or [first[i] for i in range(min(SAMPLES, len(first)))]
        assert trainer.stage is not None
        name = trainer.stage.shows
        scores, pictures = trainer.stage.validate(pairs)
        if trainer.held_out:
            self._write({f"validation/{name}": value for name, value in scores.items()})
        self.board.add_image(f"validation/{name}", pictures, trainer.step, dataformats="HWC")
        self.journal.picture(trainer.step, name, pictures)

    def finish(self) -> None:
        """Say in the journal that the run is complete."""
        if self._writes:
            self.journal.finish(self.trainer.step)
