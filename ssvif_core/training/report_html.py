"""The report of a run as one HTML file: text, inline pictures, no script, no network."""

from __future__ import annotations

import base64
import html
import io
import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np
import yaml

from ssvif_core.training.report_figures import draw_panels, save
from ssvif_core.training.run_folder import Run

__all__ = ["render"]

#: Pictures of each name in a report, first and last among them; the folder keeps all.
MOST_PICTURES = 8
WIDEST_PX, JPEG_QUALITY = 1400, 88

STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.45 system-ui, sans-serif; color: #1b1b1b; background: #fff;
       max-width: 1120px; margin: 0 auto; padding: 1.2rem 1.5rem 4rem; }
h1 { font-size: 1.5rem; margin: 0 0 .6rem; }
h2 { font-size: 1.1rem; margin: 2rem 0 .6rem; border-bottom: 1px solid #ddd; }
.verdict { padding: .6rem .9rem; border-left: 6px solid; border-radius: 3px; font-weight: 600; }
.finished { background: #e7f5ec; border-color: #1a7f42; }
.stopped, .unfinished { background: #fff5dc; border-color: #b27b00; }
.collapsed { background: #fdeaea; border-color: #b00020; }
img { max-width: 100%; height: auto; display: block; }
img[src^="data:image/svg"] { width: 100%; }
table { border-collapse: collapse; font-size: .9rem; }
td, th { text-align: left; padding: .15rem 1.2rem .15rem 0; vertical-align: top; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
tbody tr:nth-child(even) { background: #f6f6f6; }
figure { margin: 0 0 1rem; }
figcaption { color: #555; font-size: .9rem; margin-bottom: .2rem; }
pre { background: #f6f6f6; padding: .8rem; overflow-x: auto; font-size: .82rem; }
code { overflow-wrap: anywhere; }
"""


def render(run: Run) -> str:
    """The whole file as text."""
    title = html.escape(run.title)
    sections = [
        f"<h1>{title}</h1>",
        f'<p class="verdict {run.verdict.kind}">{html.escape(run.verdict.text)}</p>',
        *_curves(run),
        *_ends(run),
        *_samples(run),
        *_environment(run),
        *_configuration(run),
    ]
    body = "\n".join(sections)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def _curves(run: Run) -> Iterable[str]:
    panels = run.panels
    for section in dict.fromkeys(panel.section for panel in panels):
        chosen = [panel for panel in panels if panel.section == section]
        figure = draw_panels(chosen, run.figures, run.stages, columns=2)
        file = io.BytesIO()
        save(figure, file, "svg")
        yield f"<h2>{html.escape(section)}</h2>"
        titles = ", ".join(panel.title for panel in chosen)
        yield _image(file.getvalue(), "image/svg+xml", f"Curves of {titles} over steps")


def _ends(run: Run) -> Iterable[str]:
    """First and last value of what was looked at now and then."""
    names = [n for n in run.figures if n.startswith(("validation/", "collapse/"))]
    if not names:
        return
    rows = []
    for name in names:
        steps, values = run.figures[name]
        cells = (_number(values[0]), _number(values[-1]), str(steps[-1]))
        numbers = "".join(f'<td class="number">{cell}</td>' for cell in cells)
        rows.append(f"<tr><td>{html.escape(name)}</td>{numbers}</tr>")
    heads = "".join(f'<th class="number">{head}</th>' for head in ("first", "last", "at step"))
    yield "<h2>First and last</h2>"
    yield f"<table><thead><tr><th></th>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def _number(value: float) -> str:
    return f"{value:.4g}" if math.isfinite(value) else "not finite"


def _samples(run: Run) -> Iterable[str]:
    by_name: dict[str, list[tuple[Path, int]]] = {}
    for path, step in run.pictures:
        by_name.setdefault(path.stem.split("_", 1)[1], []).append((path, step))
    for name, pictures in by_name.items():
        chosen = _evenly(pictures, MOST_PICTURES)
        yield f"<h2>Samples: {html.escape(name)}</h2>"
        if len(chosen) < len(pictures):
            shown = f"{len(chosen)} of {len(pictures)}"
            yield f"<p>{shown}; all of them are in <code>pictures/</code>.</p>"
        for path, step in chosen:
            image = _jpeg(path)
            shown = (
                f"<p>{html.escape(path.name)} is damaged.</p>"
                if image is None
                else _image(image, "image/jpeg", f"{name} at step {step}")
            )
            yield f"<figure><figcaption>step {step}</figcaption>{shown}</figure>"


def _evenly(items: Sequence[tuple[Path, int]], most: int) -> list[tuple[Path, int]]:
    places = np.unique(np.linspace(0, len(items) - 1, min(most, len(items))).round().astype(int))
    return [items[place] for place in places]


def _jpeg(path: Path) -> bytes | None:
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        return None
    if image.shape[1] > WIDEST_PX:
        height = max(1, round(image.shape[0] * WIDEST_PX / image.shape[1]))
        image = cv2.resize(image, (WIDEST_PX, height), interpolation=cv2.INTER_AREA)
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes()


def _image(content: bytes, kind: str, text: str) -> str:
    data = base64.b64encode(content).decode("ascii")
    return f'<img alt="{html.escape(text)}" src="data:{kind};base64,{data}">'


def _environment(run: Run) -> Iterable[str]:
    if not run.environment:
        return
    rows = "".join(
        f"<tr><td>{html.escape(name.replace('_', ' '))}</td>"
        f"<td><code>{html.escape(_plain(value))}</code></td></tr>"
        for name, value in run.environment.items()
    )
    yield f"<h2>Where it was made</h2>\n<table><tbody>{rows}</tbody></table>"


def _plain(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_plain(part)}" for name, part in value.items())
    if isinstance(value, list):
        return "; ".join(_plain(part) for part in value)
    return value if isinstance(value, str) else json.dumps(value)


def _configuration(run: Run) -> Iterable[str]:
    if not run.config:
        return
    text = html.escape(yaml.safe_dump(run.config, sort_keys=False, allow_unicode=True))
    yield f"<h2>Configuration</h2>\n<details><summary>show</summary><pre>{text}</pre></details>"
