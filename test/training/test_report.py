"""The journal survives crashes and resuming; the report says what became of a run."""

from __future__ import annotations

import base64
import json
import re
import subprocess
from html.parser import HTMLParser

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra `train` (torch)")
pytest.importorskip("matplotlib", reason="needs the extra `train` (matplotlib)")

import cv2  # noqa: E402
from matplotlib import rc_context  # noqa: E402

from ssvif_core.errors import SsvifError  # noqa: E402
from ssvif_core.training.journal import RunJournal, read_environment  # noqa: E402
from ssvif_core.training.report import write_report  # noqa: E402
from ssvif_core.training.report_figures import STYLE, Span, draw_panels, panels_of  # noqa: E402
from ssvif_core.training.run_folder import read_run  # noqa: E402

CONFIG = {
    "name": "synthetic",
    "variant": "tiny",
    "stages": [{"kind": "fusion", "steps": 600}, {"kind": "joint", "steps": 1000}],
    "collapse": {"min_perplexity": 2.5, "max_border": 0.5},
    "note": "<b>not bold</b>",
}


def write_run(folder, until=1600, pictures=True) -> RunJournal:
    """A run of two stages: fusion, then joint with weights, collapse looks and validation."""
    journal = RunJournal(folder, resume_step=0)
    (folder / "config.json").write_text(json.dumps(CONFIG))
    rng = np.random.default_rng(0)
    for step in range(10, until + 1, 10):
        noise = rng.normal(1, 0.1)
        values = {"loss/total": 5 * np.exp(-step / 400) * noise + 0.2, "learning_rate": 1e-3}
        values |= {"loss/intensity": 0.1 * noise, "loss/gradient": 0.02 * noise}
        if step > 600:
            values |= {"loss/consistency_pixel": 1.2 * noise, "weight/fusion": 0.5}
            values |= {"weight/gate": float(np.clip(0.6 * noise, 0, 1))}
        stage = "fusion" if step <= 600 else "joint"
        journal.append(step, stage, values)
        if step % 200 == 0:
            journal.append(step, stage, {"validation/iou/person": 0.3 + step / 4000})
            if pictures:
                image = np.full((60, 320, 3), (255, step // 10, 0), np.uint8)
                journal.picture(step, "pairs", image)
        if step > 600 and step % 100 == 0:
            journal.append(step, stage, {"collapse/perplexity": 6.0, "collapse/border": 0.2})
    return journal


# -- journal ------------------------------------------------------------------------------------


def test_what_is_written_down_is_read_back_in_order(tmp_path):
    journal = RunJournal(tmp_path / "new" / "run")
    journal.append(1, "fusion", {"loss/total": 2.0, "learning_rate": 0.1})
    journal.append(2, "joint", {"loss/total": torch.tensor(1.5)})
    steps, values = journal.read()["loss/total"]
    assert steps.tolist() == [1, 2]
    assert values.tolist() == [2.0, 1.5]
    assert journal.read()["learning_rate"][0].tolist() == [1]
    first = (tmp_path / "new" / "run" / "metrics.jsonl").read_text().splitlines()[0]
    assert json.loads(first) == {
        "step": 1, "stage": "fusion", "loss/total": 2.0, "learning_rate": 0.1
    }  # fmt: skip


def test_a_journal_that_is_opened_again_goes_on(tmp_path):
    RunJournal(tmp_path).append(1, "fusion", {"a": 1})
    journal = RunJournal(tmp_path)
    journal.append(2, "fusion", {"a": 2})
    assert journal.read()["a"][0].tolist() == [1, 2]


def test_resuming_takes_out_what_came_after_the_step(tmp_path):
    journal = write_run(tmp_path, until=800)
    journal.stop(800, "power cut")
    resumed = RunJournal(tmp_path, resume_step=500)
    assert resumed.read()["loss/total"][0].max() == 500
    assert sorted(path.name for path in (tmp_path / "pictures").iterdir()) == [
        "0000200_pairs.png",
        "0000400_pairs.png",
    ]
    resumed.append(510, "fusion", {"loss/total": 1.0})
    steps, _ = resumed.read()["loss/total"]
    assert steps[-2:].tolist() == [500, 510]
    assert read_run(tmp_path).verdict.kind == "unfinished"
    assert not list(tmp_path.glob("*.partial"))


def test_a_run_that_begins_anew_keeps_nothing(tmp_path):
    write_run(tmp_path, until=400)
    assert RunJournal(tmp_path, resume_step=0).read() == {}
    assert not list((tmp_path / "pictures").iterdir())


def test_a_half_written_last_line_costs_that_line_only(tmp_path):
    journal = RunJournal(tmp_path)
    journal.append(1, "fusion", {"a": 1})
    journal.append(2, "fusion", {"a": 2})
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(path.read_bytes()[:-6])
    assert journal.read()["a"][0].tolist() == [1]
    again = RunJournal(tmp_path, resume_step=1)
    again.append(2, "fusion", {"a": 3})
    assert again.read()["a"][1].tolist() == [1, 3]


def test_what_is_not_finite_is_valid_json_and_read_as_nan(tmp_path):
    journal = RunJournal(tmp_path)
    journal.append(1, "fusion", {"a": float("inf"), "b": float("nan")})
    assert json.loads((tmp_path / "metrics.jsonl").read_text())["a"] is None
    assert all(np.isnan(values).all() for _, values in journal.read().values())


def test_pictures_keep_their_colours(tmp_path):
    image = np.zeros((8, 8, 3), np.uint8)
    image[..., 0] = 200
    path = RunJournal(tmp_path).picture(12, "pairs", image)
    assert path == tmp_path / "pictures" / "0000012_pairs.png"
    assert cv2.imread(str(path))[0, 0].tolist() == [0, 0, 200]


def test_the_environment_is_written_once_and_says_what_changed_on_resuming(tmp_path):
    RunJournal(tmp_path, resume_step=0, device="cpu")
    first = read_environment(tmp_path)
    assert first["device"] == "cpu"
    assert first["packages"]["torch"] == torch.__version__
    assert first["git_commit"] == "not a git checkout" or len(first["git_commit"]) == 40
    RunJournal(tmp_path)
    assert read_environment(tmp_path) == first
    (tmp_path / "environment.json").write_text(json.dumps({**first, "git_commit": "another"}))
    RunJournal(tmp_path, resume_step=40, device="cpu")
    resumed = read_environment(tmp_path)
    assert resumed["git_commit"] == "another"
    assert resumed["resumed"][0]["step"] == 40
    assert resumed["resumed"][0]["git_commit"] == first["git_commit"]
    assert "packages" not in resumed["resumed"][0]


def test_the_machine_is_not_named(tmp_path):
    RunJournal(tmp_path)
    name = subprocess.run(["uname", "-n"], capture_output=True, text=True, check=True).stdout
    assert name.strip() not in (tmp_path / "environment.json").read_text()


# -- report -------------------------------------------------------------------------------------


class _Page(HTMLParser):
    """Tags that are left open, pictures, addresses, and the text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.images: list[str] = []
        self.addresses: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        if tag == "img":
            self.images.append(found["src"])
            assert found["alt"]
        elif tag != "meta":
            self.open.append(tag)
        self.addresses += [v for k, v in attributes if k in ("href", "src") and v]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    write_run(folder).finish(1600)
    return folder, write_report(folder)


def test_a_report_is_one_page_that_needs_nothing_else(finished):
    folder, path = finished
    assert path == folder / "report.html"
    text = path.read_text()
    page = _Page(text)
    assert page.open == []
    assert all(address.startswith("data:") for address in page.addresses)
    assert not re.search(r"<script|@import|url\(", text)
    kinds = [source.split(";")[0] for source in page.images]
    assert kinds.count("data:image/svg+xml") == 4  # losses, weights, validation, collapse
    assert kinds.count("data:image/jpeg") == 8


def test_a_report_shows_every_figure_and_the_configuration(finished):
    page = _Page(finished[1].read_text())
    assert "Finished at step 1600 of 1600." in page.text
    assert "<b>not bold</b>" in page.text  # as text, not as markup
    assert "validation/iou/person" in page.text
    assert read_environment(finished[0])["git_commit"] in page.text
    drawn = {name for panel in read_run(finished[0]).panels for name in panel.lines.values()}
    assert drawn == set(RunJournal(finished[0]).read())


def test_curves_are_valid_svg_and_the_same_run_gives_the_same_report(finished):
    folder, path = finished
    text = path.read_text()
    for source in _Page(text).images[:4]:
        svg = base64.b64decode(source.split(",")[1])
        assert svg.lstrip().startswith(b"<?xml")
        assert b"</svg>" in svg
    assert write_report(folder).read_text() == text


def test_the_page_of_curves_is_a_picture_with_something_on_it(finished):
    image = cv2.imread(str(finished[0] / "report.png"))
    assert image.shape[1] >= 1000
    assert image.std() > 10
    # The last sample is drawn below the curves: red, as it was kept.
    red = (image[..., 2] > 230) & (image[..., 1] > 140) & (image[..., 1] < 180)
    red &= image[..., 0] < 20
    assert red.sum() > 0.03 * red.size


@pytest.mark.parametrize(
    ("end", "kind", "words"),
    [
        (lambda j: None, "unfinished", "Stopped at step 500 of 1600, or still running"),
        (lambda j: j.stop(500, "Ctrl-C."), "stopped", "Stopped at step 500 of 1600. Ctrl-C."),
        (
            lambda j: j.stop(500, "Everything is one cluster.", collapsed=True),
            "collapsed",
            "Collapsed at step 500 of 1600. Everything is one cluster.",
        ),
    ],
)
def test_a_partial_run_has_a_report_that_says_so(tmp_path, end, kind, words):
    end(write_run(tmp_path, until=500, pictures=False))
    page = write_report(tmp_path).read_text()
    assert f'class="verdict {kind}"' in page
    assert words in _Page(page).text


def test_one_entry_without_configuration_is_enough(tmp_path):
    RunJournal(tmp_path).append(1, "supervised", {"loss/total": float("nan")})
    assert "Stopped at step 1" in write_report(tmp_path).read_text()


def test_a_damaged_picture_is_said_and_not_shown(tmp_path):
    journal = write_run(tmp_path, until=400)
    journal.picture(400, "pairs", np.zeros((4, 4, 3), np.uint8)).write_bytes(b"no picture")
    assert "0000400_pairs.png is damaged" in write_report(tmp_path).read_text()


@pytest.mark.parametrize("make", [True, False])
def test_a_folder_without_a_run_is_an_error_that_says_what_to_do(tmp_path, make):
    folder = tmp_path / "run"
    if make:
        RunJournal(folder)
    with pytest.raises(SsvifError, match="ssvif train"):
        write_report(folder)
    assert not (folder / "report.html").exists()


def test_stages_come_from_the_configuration_or_else_from_the_entries(finished, tmp_path):
    expected = [Span("fusion", 0, 600), Span("joint", 600, 1600)]
    assert read_run(finished[0]).stages == expected
    write_run(tmp_path)
    (tmp_path / "config.json").unlink()
    assert read_run(tmp_path).stages == expected


def test_the_alarm_bounds_of_the_configuration_are_drawn(finished):
    panels = {panel.title: panel for panel in read_run(finished[0]).panels}
    assert panels["perplexity"].bounds == {"alarm below": 2.5}
    assert panels["border"].bounds == {"alarm above": 0.5}


def test_the_numbers_beside_an_axis_are_not_cut_off():
    rates = np.linspace(0.00012345, 0.000125, 50)
    figures = {"learning_rate": (np.arange(50), rates), "loss/total": (np.arange(50), -1e3 * rates)}
    drawn = draw_panels(panels_of(figures, {}), figures, [Span("joint", 0, 50)], 1)
    with rc_context(STYLE):
        drawn.draw_without_rendering()
    assert all(axes.yaxis.get_tightbbox().x0 >= 0 for axes in drawn.axes)


def test_figures_of_any_name_find_a_place():
    one = (np.array([1]), np.array([1.0]))
    panels = panels_of({"something/new": one, "loss/total": one}, {})
    assert [panel.title for panel in panels] == ["total loss", "something/new"]
