"""Drawn street scenes with ground truth, as a visible and a thermal camera would film them.

A scene is a pure function of (kind, size, seed, time), so that two camera drivers that know nothing
of each other film the same moment. What stays still is drawn once; a frame draws what moves, far to
near, over it. Knows nothing of ROS, networks or files.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import cv2
import numpy as np

from ssvif_core.errors import SsvifError
from ssvif_core.simulation.lights import Lights
from ssvif_core.simulation.maps import Prop, prop_of
from ssvif_core.simulation.paint import Camera, Figure, HeatScale, Stage, fill, paint, silhouette
from ssvif_core.simulation.physics import SCENE_KINDS, WEATHER, SceneKind
from ssvif_core.simulation.plate import make_plate
from ssvif_core.simulation.sensor import Sensors
from ssvif_core.simulation.smoke import Smoke
from ssvif_core.simulation.street import build_street
from ssvif_core.simulation.traffic import make_traffic

__all__ = ["SCENE_KINDS", "SCENE_LABELS", "Scene", "SceneFrame", "SceneKind", "SceneShow"]

#: Names of the label ids, those of the shipped models.
SCENE_LABELS = ("background", "car", "person", "bicycle")

_SMALLEST, _LARGEST = 32, 4096


class Actor(Protocol):
    """What moves or is parked."""

    def figure(self, time_s: float, stage: Stage) -> Figure | None:
        """How it looks at a time, or None out of sight."""


@dataclass(frozen=True)
class SceneFrame:
    """One moment, seen by co-registered cameras.

    Attributes:
        visible: RGB uint8 (H, W, 3); (0, 0, 3) if it was not asked for.
        thermal: uint16 (H, W) raw counts, linear in the radiance between 8 and 14 um, 100 counts
            for 1 W/(m2 sr), about 83 counts/K at 20 C (`scene_physics.celsius_from_counts`);
            (0, 0) if it was not asked for.
        labels: uint8 (H, W), indices of `SCENE_LABELS`; wheels are filled discs, a rider is a
            person; (0, 0) if not asked for.
    """

    visible: np.ndarray
    thermal: np.ndarray
    labels: np.ndarray


class Scene:
    """One street in one kind of light; takes about half a second to build.

    Args:
        kind: "day", "night", "glare" (low sun ahead, dazzling headlamps) or "smoke".
        width, height: of the frames, 32 to 4096.
        seed: street, traffic and noise follow from it.

    Raises:
        SsvifError: the kind or the size cannot be drawn.
    """

    def __init__(self, kind: SceneKind, width: int = 640, height: int = 480, seed: int = 0) -> None:
        if kind not in SCENE_KINDS:
            raise SsvifError(f"There is no scene {kind!r}: use one of {', '.join(SCENE_KINDS)}.")
        if not (_SMALLEST <= width <= _LARGEST and _SMALLEST <= height <= _LARGEST):
            raise SsvifError(
                f"A scene cannot be {width} x {height}: use {_SMALLEST} to {_LARGEST} pixels."
            )
        self.kind: SceneKind = kind
        weather, camera = WEATHER[kind], Camera(width, height)
        random = np.random.default_rng([seed, SCENE_KINDS.index(kind)])
        maps, lamps = build_street(camera, weather, random)
        lamp_rgb = np.array((4.6, 3.6, 2.3)) if weather.dark else np.zeros(3)
        self._stage = Stage(camera, weather, lamps, lamp_rgb)
        self._scale, self._props = HeatScale(), maps.props
        self._traffic = make_traffic(kind, weather, random)
        plate = make_plate(maps, lamps, lamp_rgb)
        self._visible, self._shadowed = plate.visible, plate.shadowed
        self._veil = plate.veil if plate.veil.any() else None
        self._lights = Lights(self._stage)
        warm = float(self._scale.levels(weather.apparent_counts(weather.air_c + 4.0, 1.0)))
        self._smoke = Smoke(camera, random, warm) if kind == "smoke" else None
        self._heat = np.rint(self._scale.levels(plate.counts)).astype(np.uint8)
        self._labels = np.zeros((height, width), np.uint8)
        empty = self._heat.copy()
        self._park()
        still = np.where(self._heat != empty, self._scale.counts(self._heat), plate.counts)
        self._sensors = Sensors(weather, self._scale, random, still, self._heat)

    def _park(self) -> None:
        """Draw what is parked on the plates, and let it hide what moves behind it."""
        figures = [f for p in self._traffic.parked if (f := p.figure(0.0, self._stage))]
        for figure in figures:
            self._cast(self._visible, figure)
        props = list(self._props)
        for figure in sorted(figures, key=lambda f: -f.depth_m):
            before = [plane.copy() for plane in (self._visible, self._heat, self._labels)]
            planes = (self._visible, self._heat, self._labels)
            paint(figure, self._stage.weather, self._scale, *planes)
            for prop in props:
                if prop.depth_m < figure.depth_m:
                    for plane, old in zip(planes, before, strict=True):
                        cv2.copyTo(old[prop.box], prop.mask, plane[prop.box])
            hidden = prop_of(silhouette(figure, *self._labels.shape), figure.depth_m)
            if hidden is not None:
                self._props.append(hidden)
        covered = self._labels > 0
        self._shadowed[covered] = self._visible[covered]
        self._props.sort(key=lambda prop: -prop.depth_m)

    def render(
        self, time_s: float, *, visible: bool = True, thermal: bool = True, labels: bool = True
    ) -> SceneFrame:
        """The scene at a time [s]; leave out what is not needed, for each costs milliseconds."""
        rgb = self._visible.copy() if visible else None
        heat = self._heat.copy() if thermal else None
        truth = self._labels.copy() if labels else None
        figures = self._figures(time_s)
        if rgb is not None:
            self._ground_light(rgb, figures, time_s)
        self._far_to_near(figures, rgb, heat, truth)
        if rgb is not None:
            self._finish_visible(rgb, figures, time_s)
        counts = np.zeros((0, 0), np.uint16)
        if heat is not None:
            if self._smoke:
                self._smoke.over_heat(heat, time_s)
            counts = self._sensors.thermal(heat, time_s)
        return SceneFrame(
            rgb if rgb is not None else np.zeros((0, 0, 3), np.uint8),
            counts,
            truth if truth is not None else np.zeros((0, 0), np.uint8),
        )

    def _figures(self, time_s: float) -> list[Figure]:
        traffic = self._traffic
        actors: list[Actor] = [*traffic.people, *traffic.cars]
        for cyclist in traffic.cyclists:
            actors += [cyclist.bicycle, cyclist.rider]
        figures = [f for actor in actors if (f := actor.figure(time_s, self._stage)) is not None]
        return sorted(figures, key=lambda figure: -figure.depth_m)

    def _cast(self, image: np.ndarray, figure: Figure) -> None:
        """Put the shadow of one figure on the ground."""
        mask = np.zeros(image.shape[:2], np.uint8)
        for outline in figure.shadows:
            fill(mask, outline, 1)
        cv2.copyTo(self._shadowed, mask, image)

    def _ground_light(self, rgb: np.ndarray, figures: list[Figure], time_s: float) -> None:
        """Shadows and pools of headlamps on the road."""
        mask = np.zeros(rgb.shape[:2], np.uint8)
        for figure in figures:
            for outline in figure.shadows:
                fill(mask, outline, 1)
        cv2.copyTo(self._shadowed, mask, rgb)
        if self._stage.weather.dark:
            for car in self._traffic.cars:
                x, z, heading, _ = car.place(time_s)
                ahead = 1.0 if heading == 0.0 else -1.0
                self._lights.pool(rgb, x, z + 2.0 * ahead, ahead)

    def _far_to_near(
        self, figures: list[Figure], rgb: np.ndarray | None, heat: np.ndarray | None,
        truth: np.ndarray | None,
    ) -> None:  # fmt: skip
        """Paint the figures, and after each the still things that are nearer than it."""
        planes = ((rgb, self._visible), (heat, self._heat), (truth, self._labels))
        props = iter(self._props)
        prop: Prop | None = next(props, None)
        for figure in [*figures, None]:
            nearest = figure.depth_m if figure else 0.0
            while prop is not None and prop.depth_m >= nearest:
                for plane, still in planes:
                    if plane is not None:
                        cv2.copyTo(still[prop.box], prop.mask, plane[prop.box])
                prop = next(props, None)
            if figure:
                paint(figure, self._stage.weather, self._scale, rgb, heat, truth)
                if rgb is not None and figure.glows:
                    self._lights.bloom(rgb, figure)

    def _finish_visible(self, rgb: np.ndarray, figures: list[Figure], time_s: float) -> None:
        """Scattered light, veil and smoke, then the sensor."""
        for figure in figures:
            if figure.glows:
                self._lights.scatter(rgb, figure)
        if self._veil is not None:
            cv2.add(rgb, self._veil, dst=rgb)
        if self._smoke:
            self._smoke.over_visible(rgb, time_s)
        self._sensors.visible(rgb, time_s)


@lru_cache(maxsize=len(SCENE_KINDS))
def _scene(kind: SceneKind, width: int, height: int, seed: int) -> Scene:
    """Two cameras of one process share their scenes: a scene never changes once it is built."""
    return Scene(kind, width, height, seed)


class SceneShow:
    """All kinds of scene in turn, as a pure function of time.

    Args:
        width, height, seed: as of `Scene`.
        seconds_each: how long each kind is shown; 15 seconds show all four.
    """

    def __init__(
        self, width: int = 640, height: int = 480, seed: int = 0, seconds_each: float = 3.5
    ) -> None:
        if not seconds_each > 0:
            raise SsvifError(f"seconds_each is {seconds_each}: use a number above 0.")
        self._seconds = seconds_each
        self._scenes = [_scene(kind, width, height, seed) for kind in SCENE_KINDS]

    def kind_at(self, time_s: float) -> SceneKind:
        """The kind that is shown at a time [s]."""
        return SCENE_KINDS[int(time_s // self._seconds) % len(SCENE_KINDS)]

    def render(
        self, time_s: float, *, visible: bool = True, thermal: bool = True, labels: bool = True
    ) -> SceneFrame:
        """As `Scene.render`; each scene goes on where it was when it is shown again."""
        turn, index = divmod(int(time_s // self._seconds), len(self._scenes))
        local_s = time_s % self._seconds + turn * self._seconds
        return self._scenes[index].render(local_s, visible=visible, thermal=thermal, labels=labels)
