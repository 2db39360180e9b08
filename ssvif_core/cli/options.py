"""Options that several commands have, with the same meaning and the same help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

__all__ = ["LabelMap", "Labels", "NodeName", "Params", "Stamps", "ThermalTopic", "VisibleTopic"]

# typer evaluates annotations on Python 3.10 as well, hence Optional (see app.py).
Params = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option(help="Parameter file of the node, as config/fusion.yaml; options win."),
]
NodeName = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--node", help="Whose parameters, where --params has several: /front/fusion."),
]
VisibleTopic = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(help="Of a recording; default: found by type, name and encoding."),
]
ThermalTopic = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(help="Default: found likewise."),
]
Stamps = Annotated[
    str, typer.Option(help="Pair by header stamps, as the node, or by receive: times of receipt.")
]
Labels = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(help="Name of the folder of label images; default the data's own."),
]
LabelMap = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(help="Ids in the files to class ids, 0:0,1:1,4:0; others are left out."),
]
