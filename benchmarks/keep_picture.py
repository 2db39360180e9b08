"""The picture of one model on the trunk of another: after masks were trained anew.

    ssvif train config/training/masks.yaml --variant tiny
    python benchmarks/keep_picture.py runs/masks-tiny/checkpoint.pt --variant tiny --like tiny

Fusion sees what the trunk knows (network/fusion_network.py), so when the trunk was trained further
the fused image is another one, and not as good. Here the fusion path alone learns, with the trunk
as it is, to give the fused image that `--like` gives (of several: their mean), on the frames and
with the augmentation of config/training/fusion_path.yaml:

    L = 10 |F - F'| + 20 |dF - dF'|     F, F' both fused luminances, d differences of neighbours

Training the path by the fusion losses instead was tried: better in figures, and a person in front
of a headlamp was gone (docs/method.md).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from rich.console import Console
from torch import Tensor

from ssvif_core.cli.progress import progress_bar
from ssvif_core.models import open_model
from ssvif_core.network.fusion_network import luminance
from ssvif_core.training.config import StageConfig, TrainingConfig, load_config
from ssvif_core.training.reopen import reopen
from ssvif_core.training.stage import Inputs
from ssvif_core.training.trainer import Trainer

CONFIG = Path(__file__).resolve().parent.parent / "config" / "training" / "fusion_path.yaml"
LEVEL, EDGES = 10.0, 20.0


class KeepsPicture(Trainer):
    """A run whose fused image is to be that of another model, or the mean of several.

    Args:
        like: shipped models or paths of exported ones.
        config, run_folder: as those of `Trainer`; stages of kind `fusion`.
    """

    def __init__(self, like: list[str], config: TrainingConfig, run_folder: Path) -> None:
        super().__init__(config, run_folder)
        frames = [(visible, thermal) for visible, thermal in self._first_batches()]
        self._like = [reopen(open_model(name), frames).eval() for name in like]

    def _enter(self, config: StageConfig, start: int) -> None:
        super()._enter(config, start)
        assert self.stage is not None
        self.stage.fusion_loss = self._distance  # type: ignore[method-assign]

    def _distance(self, fused: Tensor, inputs: Inputs) -> tuple[Tensor, dict[str, float]]:
        with torch.no_grad():
            images = [like(inputs.visible, inputs.thermal).fused for like in self._like]
            wanted = luminance(torch.stack(images).mean(0))
        difference = luminance(fused) - wanted
        level = difference.abs().mean()
        edges = difference.diff(dim=-1).abs().mean() + difference.diff(dim=-2).abs().mean()
        values = {"loss/level": float(level.detach()), "loss/edges": float(edges.detach())}
        return LEVEL * level + EDGES * edges, values


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("trunk", help="checkpoint whose masks are kept")
    parser.add_argument(
        "--like", required=True, nargs="+", help="base, tiny or ONNX files: the picture"
    )
    parser.add_argument("--variant", choices=("base", "tiny"), default="base")
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--rate", type=float, default=0.003, help="learning rate")
    parser.add_argument("--msrs", type=float, help="share of MSRS in the crops' weights")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--run", type=Path, default=Path("runs/keep_picture"))
    options = parser.parse_args()
    content = load_config(CONFIG).model_dump()
    stage = {**content["stages"][0], "steps": options.steps, "learning_rate": options.rate}
    sources = [s for s in content["sources"] if (options.data / s["folder"]).exists()]
    if options.msrs is not None:
        sources[0] = {**sources[0], "share": options.msrs}
    changes = {
        "name": "keep_picture", "variant": options.variant, "data_root": options.data,
        "initialise_from": options.trunk, "stages": [stage], "sources": sources,
        "validate_every": 10**9, "checkpoint_every": 100, "seed": options.seed,
    }  # fmt: skip
    config = TrainingConfig.model_validate({**content, **changes})
    trainer = KeepsPicture(options.like, config, options.run)
    with progress_bar() as bar:
        task = bar.add_task("picture", total=options.steps, completed=trainer.step)
        trainer.run(lambda step, _: bar.update(task, completed=step))
    Console().print(
        f"Export it: ssvif export {trainer.checkpoint_path} OUTPUT.onnx --frames FOLDER"
    )


if __name__ == "__main__":
    main()
