"""Draw pairs to train with: streets before a glaring sky are rare in public sets.

    python benchmarks/draw_training_pairs.py ../shared/data/drawn

Writes PNG pairs into visible/ and thermal/, 640 x 480, thermal after gain, and what each pixel is
into labels/: 0 background, 1 car, 2 person, 3 bicycle. Seeds begin at 100, far from those that the
demonstrations and tests draw (0 and up).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2

from ssvif_core.imaging.thermal_gain import ThermalGain
from ssvif_core.simulation.physics import SceneKind
from ssvif_core.simulation.scenes import Scene

FIRST_SEED, FIRST_SECOND = 100, 2.0
#: Frames of each kind: most of the one that is missing elsewhere.
FRAMES: dict[SceneKind, int] = {"glare": 16, "day": 8, "smoke": 8, "night": 8}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    for part in ("visible", "thermal", "labels"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for kind, count in FRAMES.items():
        for i in range(count):
            frame = Scene(kind, 640, 480, FIRST_SEED + i).render(FIRST_SECOND + i)
            name = f"{kind}{i:02d}.png"
            cv2.imwrite(str(folder / "visible" / name), frame.visible[..., ::-1])
            cv2.imwrite(str(folder / "thermal" / name), ThermalGain().apply(frame.thermal))
            cv2.imwrite(str(folder / "labels" / name), frame.labels)
    print(f"written: {sum(FRAMES.values())} pairs in {folder}")


if __name__ == "__main__":
    main()
