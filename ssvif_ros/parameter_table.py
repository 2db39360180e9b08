"""docs/parameters.md, made from the declarations: `python -m ssvif_ros.parameter_table`.

Knows how a declaration is described, and no parameter.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from ssvif_ros.parameters import Settings, ros_name

__all__ = ["parameter_table"]

HEAD = """\
# Parameters of the fusion node

Made by `make parameters` from `ssvif_ros/parameters.py`: change them there.

Live parameters can be set while the node fuses (`ros2 param set /fusion slop 0.02`); they apply
from the next frame on, `engine` and `precision` when the new engine is loaded, and no frame is
dropped for them. The others apply at configure, and are refused afterwards with the reason.
`config/fusion.yaml` has all of them with their defaults.

| parameter | type | default | range | live | what it is |
|---|---|---|---|---|---|
"""
FOOT = """
Beside them, as in every ROS 2 node: `use_sim_time`, and
`qos_overrides./visible/image_raw.subscription.{reliability,depth,history,durability}` (the resolved
name of the topic; the same for the thermal one). Both cameras are subscribed to with sensor-data
QoS (best effort, depth 5), which hears reliable and best-effort publishers.
`qos_overrides./fusion/fused.publisher.{reliability,depth,history,durability}` are those of the
fused image, and the same of `labels`, `overlay`, the `/compressed` of each and `camera_info`: all
are published reliable, depth 2, unless these say otherwise.
"""


def parameter_table() -> str:
    """The whole file, as Markdown."""
    rows = (_row(field) for field in dataclasses.fields(Settings))
    return HEAD + "".join(f"| {' | '.join(row)} |\n" for row in rows) + FOOT


def _row(field: dataclasses.Field[Any]) -> list[str]:
    about = field.metadata
    cells = [
        f"`{ros_name(field.name)}`",
        type(field.default).__name__.replace("str", "string").replace("float", "double"),
        f"`{_text(field.default)}`",
        _range(field),
        "live" if about["live"] else "",
        about["description"],
    ]
    return [cell.replace("|", "\\|") for cell in cells]


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if value != "" else '""'


def _range(field: dataclasses.Field[Any]) -> str:
    about = field.metadata
    if about["choices"]:
        return ", ".join(about["choices"])
    if about["low"] is None:
        return ""
    kind = float if isinstance(field.default, float) else int
    return f"{kind(about['low'])} to {kind(about['high'])}"


if __name__ == "__main__":
    print(parameter_table(), end="")
