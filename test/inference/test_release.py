"""A pipeline without an engine, as a node that is not active has it."""

from __future__ import annotations

import subprocess
import sys
import threading

import numpy as np
import pytest

from ssvif_core.errors import SsvifError
from ssvif_core.imaging.thermal_gain import ThermalGain
from ssvif_core.inference.engine import EngineOptions, create_engine
from ssvif_core.inference.pipeline import Pipeline
from ssvif_core.models import open_model

FRAME = np.full((32, 32, 3), 90, np.uint8), np.full((32, 32), 60, np.uint8)


def engine():
    return create_engine(open_model("tiny"), "onnxruntime", EngineOptions(threads=1))[0]


def closed(made):
    try:
        made.infer(*FRAME)
    except SsvifError as error:
        return "closed" in str(error)
    return False


def test_a_released_engine_is_closed_and_another_goes_on_with_the_same_answer():
    first, second = engine(), engine()
    pipeline = Pipeline(first, ThermalGain())
    fused = pipeline.process(*FRAME).fused.copy()
    pipeline.release()
    assert pipeline.released and closed(first)
    with pytest.raises(SsvifError, match="closed"):
        pipeline.process(*FRAME)
    pipeline.release()  # twice is no harm
    pipeline.resume(second)
    assert not pipeline.released
    assert (pipeline.process(*FRAME).fused == fused).all()
    pipeline.close()
    assert closed(second)


def test_an_engine_that_is_handed_over_meanwhile_is_closed_at_once():
    pipeline, late, third = Pipeline(engine(), ThermalGain()), engine(), engine()
    pipeline.release()
    assert not pipeline.replace_engine(late)
    assert closed(late)
    pipeline.resume(third)
    pipeline.process(*FRAME)
    assert pipeline.engine is third


def test_an_engine_that_waits_its_turn_is_released_too():
    pipeline, waiting = Pipeline(engine(), ThermalGain()), engine()
    pipeline.replace_engine(waiting)
    pipeline.release()
    assert closed(waiting)


def test_an_engine_that_cannot_be_closed_is_released_all_the_same(monkeypatch):
    """As after an error of CUDA's; what waits for a frame in another thread must not hang."""
    first, waiting, third = engine(), engine(), engine()
    pipeline = Pipeline(first, ThermalGain())
    pipeline.replace_engine(waiting)

    def fail():
        raise RuntimeError("CUDA error 700")

    monkeypatch.setattr(first, "close", fail)
    with pytest.raises(RuntimeError, match="700"):
        pipeline.release()
    assert pipeline.released and closed(waiting)
    asked = threading.Thread(target=lambda: pytest.raises(SsvifError, pipeline.process, *FRAME))
    asked.daemon = True  # it would hang
    asked.start()
    asked.join(30)
    assert not asked.is_alive()
    pipeline.resume(third)
    assert pipeline.process(*FRAME).fused.shape == FRAME[0].shape


def test_an_engine_is_not_released_in_the_middle_of_a_frame(monkeypatch):
    """As where the worker's frame takes longer than a deactivation waits for it."""
    slow, order = engine(), []
    began, goes_on = threading.Event(), threading.Event()
    infer, close = slow.infer, slow.close

    def slowly(*frame):
        began.set()
        assert goes_on.wait(60)
        done = infer(*frame)
        order.append("fused")
        return done

    monkeypatch.setattr(slow, "infer", slowly)
    monkeypatch.setattr(slow, "close", lambda: (order.append("closed"), close()))
    pipeline = Pipeline(slow, ThermalGain())
    fusing = threading.Thread(target=pipeline.process, args=FRAME)
    fusing.start()
    assert began.wait(60)
    releasing = threading.Thread(target=pipeline.release)
    releasing.start()
    releasing.join(0.2)  # so that it comes first
    goes_on.set()
    for thread in (fusing, releasing):
        thread.join(60)
    assert order == ["fused", "closed"]


def test_an_engine_that_hangs_does_not_keep_the_node_from_being_deactivated(monkeypatch, caplog):
    began, goes_on, closed = threading.Event(), threading.Event(), []

    class Hangs:
        def infer(self, visible, thermal, on_fused=None):
            began.set()
            goes_on.wait(60)
            return visible, thermal

        def close(self):
            closed.append(self)

    monkeypatch.setattr("ssvif_core.inference.pipeline.STUCK_S", 0.1)
    pipeline = Pipeline(Hangs(), ThermalGain())
    frames = np.zeros((32, 32, 3), np.uint8), np.zeros((32, 32), np.uint8)
    fusing = threading.Thread(target=pipeline.process, args=frames)
    fusing.start()
    assert began.wait(60)
    pipeline.release()
    assert pipeline.released and not closed
    assert "hangs" in caplog.text
    pipeline.release()  # at once: there is nothing left to close
    pipeline.resume(engine())
    assert pipeline.process(*FRAME).fused.shape == FRAME[0].shape  # though the other hangs still
    goes_on.set()
    fusing.join(60)


RELEASED = """
import resource
from pathlib import Path
from ssvif_core.imaging.thermal_gain import ThermalGain
from ssvif_core.inference.engine import EngineOptions, create_engine
from ssvif_core.inference.pipeline import Pipeline
from ssvif_core.memory import keep_image_buffers
from ssvif_core.models import open_model

def resident_mib():
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20

keep_image_buffers()
engine = create_engine(open_model("tiny"), "onnxruntime", EngineOptions(threads=1))[0]
pipeline = Pipeline(engine, ThermalGain())
before = resident_mib()
engine.warm_up(480, 640)
active = resident_mib()
pipeline.release()
print(before, active, resident_mib())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_what_a_released_engine_held_goes_back_to_the_machine():
    said = subprocess.run([sys.executable, "-c", RELEASED], capture_output=True, check=True)
    before, active, released = (float(word) for word in said.stdout.split())
    assert active > before + 15  # the buffers of a 640x480 frame
    assert released < before + 5
