"""The report: what it draws is what was measured, and a real browser shows all of it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys

import cv2
import numpy as np
import pytest
from live_browser import LiveBrowser, find_browser

pytest.importorskip("rosbags", reason="needs the extra `bags`")

from ssvif_core.replay.events import Event, events  # noqa: E402
from ssvif_core.replay.report import fill  # noqa: E402
from ssvif_core.replay.report_plots import BINS, POINTS, line  # noqa: E402

LAPTOP = (1366, 768)
#: What `fill` wants besides plots.
MARKS = (
    "TITLE", "SUBTITLE", "ANSWERS", "EVENTS_TITLE", "WARNINGS", "PICTURES_TITLE", "PICTURES",
    "TABLES", "CONFIGURATION", "FILES",
)  # fmt: skip
#: What the browser is asked once the page is there; its answer is written into the page.
PROBE = """
<pre id="probe"></pre><script>
const problems = [];
window.addEventListener("error", e => problems.push(e.message));
// All at once: a browser that was asked for the page does not wait for the next frame.
function probe() {
  const plots = [...document.querySelectorAll(".plot")].map(plot => {
    const svg = plot.querySelector("svg");
    const shapes = [...svg.querySelectorAll(".body > :not(pattern)")].map(s => s.getBBox());
    const paths = [...svg.querySelectorAll(".body > path")].map(p => p.getTotalLength());
    const points = svg.querySelectorAll('.body > path[d$="h0"]').length;
    const parts = svg.querySelector(".body > path")?.getAttribute("d").split("M").length - 1;
    return { parts, length: paths.reduce((a, b) => a + b, 0),
      title: svg.getAttribute("aria-label"), width: svg.getBoundingClientRect().width,
      // A point is a line of no length with round ends.
      drawn: shapes.filter(b => b.width > 0 || b.height > 0).length + points,
      broken: /NaN|undefined|Infinity/.test(svg.outerHTML) };
  });
  const shown = () => document.getElementById("shown").textContent;
  const seen = { whole: shown() };
  const svg = document.querySelector(".plot:not(.wide) svg"), box = svg.getBoundingClientRect();
  const pointer = (name, x) => svg.dispatchEvent(new PointerEvent(name,
    { pointerId: 1, clientX: box.left + x, clientY: box.top + 20, bubbles: true }));
  svg.setPointerCapture = () => {};
  pointer("pointerdown", 150); pointer("pointermove", 300); pointer("pointerup", 300);
  charts.forEach(c => c.draw());
  seen.broken = /NaN|undefined|Infinity/.test(document.getElementById("plots").innerHTML);
  seen.dragged = shown();
  seen.tip = document.querySelector(".plot:not(.wide) .tip").textContent;
  const key = name => svg.dispatchEvent(new KeyboardEvent("keydown", { key: name, bubbles: true }));
  key("0"); seen.reset = shown();
  key("+"); seen.key = shown();
  svg.dispatchEvent(new WheelEvent("wheel", { deltaY: 80, ctrlKey: true, clientX: box.left + 200,
    cancelable: true }));
  seen.pinched = shown();
  const scroll = new WheelEvent("wheel", { deltaY: 80, cancelable: true });
  svg.dispatchEvent(scroll);
  seen.page_keeps_scroll = !scroll.defaultPrevented;
  document.getElementById("reset").click(); seen.button = shown();
  const root = document.documentElement;
  document.getElementById("probe").textContent = JSON.stringify({ plots, seen, problems,
    wide: root.scrollWidth, window: window.innerWidth,
    focusable: document.querySelectorAll("svg[tabindex]").length });
}
probe();
</script></body>"""


@pytest.fixture(scope="module")
def compared(drive, tmp_path_factory):
    """Folder of a comparison of tiny on two engines' settings, made by the command."""
    folder = tmp_path_factory.mktemp("compared")
    command = [sys.executable, "-m", "ssvif_core.cli", "replay", drive, "-o", folder]
    options = ["--model", "tiny", "--workers", "1", "--metrics-every", "3", "--compare", ":fp16"]
    done = subprocess.run([*command, *options], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


def in_a_browser(page, folder, size=LAPTOP):
    """What `PROBE` found, and the picture of the page."""
    browser = find_browser()
    if browser is None:
        pytest.skip("needs chromium or google-chrome")
    probed = folder / "page.html"
    probed.write_text(page.read_text(encoding="utf-8").replace("</body>", PROBE))
    flags = [
        "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        f"--user-data-dir={folder}/profile", f"--window-size={size[0]},{size[1]}",
        "--enable-logging=stderr", "--virtual-time-budget=4000",
        f"--screenshot={folder}/page.png", "--dump-dom",
    ]  # fmt: skip
    command = [browser, *flags, probed.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert "CONSOLE" not in done.stderr, done.stderr  # an error or a warning of the page
    found = re.search(r'<pre id="probe">(.+?)</pre>', done.stdout)
    assert found, done.stderr
    return json.loads(found.group(1)), folder / "page.png"


def plots_of(page):
    text = page.read_text(encoding="utf-8")
    shared = json.loads(re.search(r"const XS = (.*);\n", text).group(1))
    plots = json.loads(re.search(r"const PLOTS = (.*);\n", text).group(1))
    return plots, shared


def is_drawn(found, plots):
    """All of the plots are there, no wider than a laptop, and no error was reported."""
    for plot, drawn in zip(plots, found["plots"], strict=True):
        assert drawn["drawn"], f"nothing is drawn in {plot['title']}"
        assert drawn["width"] > 150 and not drawn["broken"], plot["title"]
        if not plot.get("dots") and plot.get("kind", "steps") == "steps":
            assert drawn["length"] > 50, f"no line is drawn in {plot['title']}"
    assert not found["problems"]
    assert found["wide"] <= found["window"] == LAPTOP[0]


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("name", ["tiny/report.html", "compare.html"])
def test_a_browser_draws_every_plot_and_zooms_and_nothing_is_wider_than_a_laptop(
    compared, tmp_path, name
):
    page = compared / name
    found, picture = in_a_browser(page, tmp_path)
    plots, _ = plots_of(page)
    assert len(plots) > 4
    is_drawn(found, plots)
    assert found["focusable"] == len(plots)
    seen = found["seen"]
    assert seen["dragged"] != seen["whole"] and " of " in seen["dragged"]
    assert seen["tip"] and not seen["broken"]
    assert seen["reset"] == seen["button"] == seen["whole"]
    assert seen["key"] != seen["whole"]
    assert seen["pinched"] not in (seen["key"], seen["dragged"])
    assert seen["page_keeps_scroll"]
    image = cv2.imread(str(picture))
    assert image.shape[:2] == LAPTOP[::-1]
    assert image.std() > 10


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_line_of_an_hour_is_drawn_as_one_line_and_no_pause_is_bridged(tmp_path):
    x = np.arange(60 * 60 * 10) / 10
    there = (x < 1000) | (x > 2000)
    whole, halves = line("whole", x, np.sin(x)), line("halves", x[there], np.sin(x[there]))
    plots = [
        {"title": "whole", "unit": "ms", "lines": [whole]},
        {"title": "halves", "unit": "ms", "lines": [halves]},
        {"title": "seconds", "unit": "1/s", "kind": "steps", "wide": True, "lines": [
            {"name": "visible", "x": list(range(3600)), "y": [30] * 3600}]},
    ]  # fmt: skip
    page = tmp_path / "long.html"
    page.write_text(fill(dict.fromkeys(MARKS, "<button id='save'></button>"), plots, {}))
    found, _ = in_a_browser(page, tmp_path)
    is_drawn(found, plots)
    assert [plot["parts"] for plot in found["plots"]] == [1, 2, 1]


#: Seconds of each video, where it is after seeking and playing, and whether it is hidden; or the
#: sentence that stands there instead.
WATCH = """Promise.all([...document.querySelectorAll("video")].map(video => new Promise(done => {
  const watch = async () => {
    const told = name => new Promise(then => video.addEventListener(name, then, { once: true }));
    const sought = told("seeked");
    video.currentTime = video.duration / 2;
    await sought;
    const from = video.currentTime, moved = told("timeupdate");
    await video.play();
    await moved;
    done({ seconds: video.duration, width: video.videoWidth, half: from });
  };
  const missed = () => done(video.hidden && video.nextElementSibling.innerText);
  if (video.error) missed();
  else if (video.readyState) watch();
  else {
    video.addEventListener("loadedmetadata", watch);
    video.addEventListener("error", missed);
  }
})))"""


def watched(page, folder):
    """What a browser makes of the videos of a page."""
    browser = find_browser()
    if browser is None:
        pytest.skip("needs chromium or google-chrome")
    with LiveBrowser(browser, folder / "profile") as live:
        live.show(page)
        return live.evaluate(WATCH)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "videos"), [("tiny/report.html", 1), ("compare.html", 2)])
def test_a_browser_plays_the_video_and_seeks_in_it(compared, tmp_path, name, videos):
    pytest.importorskip("av", reason="needs the extra `video`")
    found = watched(compared / name, tmp_path)
    capture = cv2.VideoCapture(str(compared / "tiny" / "fused.mp4"))
    frames, rate = (capture.get(k) for k in (cv2.CAP_PROP_FRAME_COUNT, cv2.CAP_PROP_FPS))
    assert len(found) == videos
    for video in found:
        assert video["seconds"] == pytest.approx(frames / rate, abs=0.01)
        assert video["half"] == pytest.approx(video["seconds"] / 2, abs=0.2)
        assert video["width"] == capture.get(cv2.CAP_PROP_FRAME_WIDTH)


@pytest.mark.slow
def test_a_report_without_its_video_says_so_instead(compared, tmp_path):
    shutil.copy(compared / "tiny" / "report.html", tmp_path)
    (sentence,) = watched(tmp_path / "report.html", tmp_path)
    assert sentence.startswith("fused.mp4 is not beside this page")


def test_the_tables_of_a_comparison_are_its_json(compared):
    content = json.loads((compared / "compare.json").read_text())
    page = (compared / "compare.html").read_text()
    assert content["first"] == "tiny"
    (found,) = content["differences"].values()
    assert [*content["differences"]] == ["tiny:fp16"]
    assert content["engines"]["tiny:fp16"]["precision"] == "fp16"
    for difference in found:
        assert f"{difference['first']:.4g}" in page
        assert f"{difference['mean']:+.4g}" in page
    assert 'href="tiny-fp16/report.html"' in page


def test_links_lead_to_files_that_are_there_and_nothing_is_fetched(compared):
    for page in (compared / "compare.html", compared / "tiny" / "report.html"):
        text = page.read_text()
        links = re.findall(r'href="([^"#][^"]*)"', text)
        assert links and all((page.parent / link).exists() for link in links)
        sources = set(re.findall(r'src="(?!data:)([^"]*)"', text))
        assert sources and all(source.endswith("fused.mp4") for source in sources)
        assert all((page.parent / source).is_file() for source in sources)
        addresses = set(re.findall(r"https?://[^\"' <]+", text))
        assert addresses == {"http://www.w3.org/2000/svg"}
        assert "@@" not in text


def test_the_saved_summary_is_the_file(compared):
    text = (compared / "tiny" / "report.html").read_text()
    saved = re.search(r'<script type="application/json" id="summary">(.*?)</script>', text, re.S)
    assert json.loads(saved.group(1)) == json.loads((compared / "tiny/summary.json").read_text())


def test_a_line_of_many_points_keeps_its_least_and_its_greatest():
    x = np.arange(POINTS + 1.0)
    y = np.sin(x)
    y[77], y[9000] = 5.0, -6.0
    drawn = line("", x, y)
    assert len(drawn["x"]) == BINS
    assert max(drawn["high"]) == 5.0 and min(drawn["low"]) == -6.0


def test_events_are_the_spans_of_the_summary_in_order_of_time():
    summary = {
        "streams": {
            "visible": {"gaps": [{"start_s": 4.0, "seconds": 0.5}], "frozen": []},
            "thermal": {"gaps": [], "frozen": [{"start_s": 1.0, "seconds": 0.75}]},
        },
        "presence": [
            {"mode": "none", "start_s": 0.0, "seconds": 0.1},
            {"mode": "both", "start_s": 0.1, "seconds": 3.9},
            {"mode": "thermal", "start_s": 4.0, "seconds": 0.5},
            {"mode": "none", "start_s": 6.5, "seconds": 2.5},
        ],
        "silent": [{"start_s": 6.0, "seconds": 3.0}],
        "timeline": {
            "bad": [0, 0, 0, 0, 1], "dropped": [0, 2, 3, 0, 0], "refused": [0, 0, 1, 2, 0],
            "paired": [9, 9, 9, 9, 4], "alone": [0, 0, 0, 0, 4],
        },
        "recording": {"seconds": 4.9, "broken": {"a.mcap": "breaks off"}},
        "interrupted": "",
    }  # fmt: skip
    assert events(summary) == [
        Event(1.0, 1.75, "thermal", "the same image for 0.75 s", "frozen"),
        Event(1, 3, "real time", "5 of 18 pairs would have been dropped", "dropped"),
        Event(2, 4, "pairs", "3 images were refused", "gone"),
        Event(4.0, 4.5, "pairs", "the thermal camera alone", "alone"),
        Event(4.0, 4.5, "visible", "no message for 0.50 s", "gone"),
        Event(4, 4.9, "pairs", "1 pair could not be fused", "gone"),
        Event(4.9, 4.9, "pairs", "a.mcap: breaks off", "gone"),
        Event(6.0, 9.0, "pairs", "neither camera sent for 3.00 s", "gone"),
    ]
