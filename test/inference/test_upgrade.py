"""An engine that is built beside a running one takes over between two frames."""

from __future__ import annotations

import os
import sys
import time

import numpy as np
import pytest

from ssvif_core.imaging.thermal_gain import ThermalGain
from ssvif_core.inference.engine import EngineOptions, create_engine
from ssvif_core.inference.pipeline import Pipeline
from ssvif_core.inference.upgrade import EngineUpgrade
from ssvif_core.models import open_model

BUILDS = [sys.executable, "-c", "import time; time.sleep(0.3)"]
FAILS = [sys.executable, "-c", "import sys; sys.exit('no room on the device')"]


def tiny():
    return create_engine(open_model("tiny"), "onnxruntime", EngineOptions(threads=1))[0]


@pytest.fixture
def pipeline():
    made = Pipeline(tiny(), ThermalGain())
    yield made
    made.close()


def wait_for(what, seconds=60.0):
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.01)


def frame():
    return np.full((48, 64, 3), 90, np.uint8), np.full((48, 64), 40, np.uint8)


def test_no_frame_is_lost_and_the_old_engine_is_closed(pipeline):
    old = pipeline.engine
    wanted = pipeline.process(*frame()).fused.copy()
    upgrade = EngineUpgrade(BUILDS, tiny, pipeline.replace_engine)
    while upgrade.state != "done":
        np.testing.assert_array_equal(pipeline.process(*frame()).fused, wanted)
    # A frame just before "done" was said may have taken the new engine already; the next one must.
    np.testing.assert_array_equal(pipeline.process(*frame()).fused, wanted)
    assert pipeline.engine is not old
    assert old._session is None
    upgrade.stop()


def test_a_build_that_fails_changes_nothing_and_says_why(pipeline):
    old = pipeline.engine
    upgrade = EngineUpgrade(FAILS, tiny, pipeline.replace_engine)
    wait_for(lambda: upgrade.state.startswith("failed"))
    assert "no room on the device" in upgrade.state
    pipeline.process(*frame())
    assert pipeline.engine is old
    upgrade.stop()


@pytest.mark.parametrize(("name", "advice"), [("KILL", "memory ran out"), ("TERM", "Terminated")])
def test_a_build_that_was_ended_from_outside_says_by_what(name, advice, pipeline):
    ends = ["sh", "-c", f"echo a warning >&2; kill -{name} $$"]
    upgrade = EngineUpgrade(ends, tiny, pipeline.replace_engine)
    wait_for(lambda: upgrade.state.startswith("failed"))
    assert "a warning. " in upgrade.state and advice in upgrade.state
    upgrade.stop()


def test_an_engine_that_does_not_load_changes_nothing(pipeline):
    def broken():
        raise RuntimeError("it was damaged")

    upgrade = EngineUpgrade(BUILDS, broken, pipeline.replace_engine)
    wait_for(lambda: upgrade.state.startswith("failed"))
    assert "damaged" in upgrade.state
    upgrade.stop()


def test_a_program_that_is_not_there_is_a_failure_and_no_crash(pipeline):
    upgrade = EngineUpgrade(["/no/such/program"], tiny, pipeline.replace_engine)
    wait_for(lambda: upgrade.state.startswith("failed"))
    upgrade.stop()


def test_stopping_ends_the_build_and_hands_nothing_over(pipeline):
    start = time.monotonic()
    upgrade = EngineUpgrade(
        [sys.executable, "-c", "import time; time.sleep(600)"], tiny, pipeline.replace_engine
    )
    wait_for(lambda: upgrade._process is not None)
    assert os.getsid(upgrade._process.pid) != os.getsid(0)  # Ctrl-C does not reach it
    upgrade.stop()
    assert time.monotonic() - start < 60
    assert upgrade.state == "stopped"
    assert upgrade._process.poll() is not None


def test_an_engine_that_waits_is_closed_with_the_pipeline():
    made, waiting = Pipeline(tiny(), ThermalGain()), tiny()
    made.replace_engine(waiting)
    made.close()
    assert waiting._session is None
