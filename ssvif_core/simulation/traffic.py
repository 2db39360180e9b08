"""Who moves through a drawn street, and when: tracks as pure functions of time, made from a seed.

Everything repeats after `PERIOD_S` or with a loop of its own, so a scene can run for hours. People
cross while no car is at the crossing. Knows nothing of drawing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from ssvif_core.simulation.bicycles import Bicycle, Cyclist
from ssvif_core.simulation.car_model import CAR_SHAPES
from ssvif_core.simulation.cars import Car, Track
from ssvif_core.simulation.maps import LEFT_KERB, RIGHT_KERB
from ssvif_core.simulation.people import Person, Place
from ssvif_core.simulation.physics import SceneKind, Weather
from ssvif_core.simulation.skeleton import standing, walking

__all__ = ["PERIOD_S", "Traffic", "make_traffic"]

#: Time after which the crossing and its cars begin again.
PERIOD_S = 12.0
_AHEAD, _BACK, _LEFT, _RIGHT = 0.0, math.pi, -math.pi / 2, math.pi / 2


@dataclass
class Traffic:
    """Everything that is drawn over the plate: parked things are part of the plate."""

    people: list[Person] = field(default_factory=list)
    cars: list[Car] = field(default_factory=list)
    cyclists: list[Cyclist] = field(default_factory=list)
    parked: list[Car | Bicycle] = field(default_factory=list)


def _along(x: float, near: float, far: float, speed: float, start: float, back: bool) -> Track:
    """Along the street between `near` and `far` [m], again from the other end."""

    def track(time_s: float) -> Place:
        way = (start + speed * time_s) % (far - near)
        return (x, far - way, _BACK, way) if back else (x, near + way, _AHEAD, way)

    return track


def _across(z: float, speed: float, middle_s: float, leftward: bool) -> Track:
    """Over the crossing once in each period, in the middle of the picture at `middle_s`."""

    def track(time_s: float) -> Place:
        since = (time_s - middle_s + PERIOD_S / 2) % PERIOD_S - PERIOD_S / 2
        way = speed * since
        return (-way, z, _LEFT, way) if leftward else (way, z, _RIGHT, way)

    return track


def _still(x: float, z: float, heading: float, sway: float = 0.0) -> Track:
    return lambda time_s: (x, z, heading, sway * time_s)


def _lane(x: float, speed: float, pass_s: float, back: bool, at: float = 9.0) -> Track:
    """One car in each period, at depth `at` when `pass_s`; comes towards us if `back`."""

    def track(time_s: float) -> Place:
        since = (time_s - pass_s + 5.0) % PERIOD_S - 5.0
        way = speed * since
        return (x, at - way, _BACK, way) if back else (x, at + way, _AHEAD, way)

    return track


def make_traffic(kind: SceneKind, weather: Weather, random: np.random.Generator) -> Traffic:
    """People, cars and bicycles of one scene."""
    traffic = Traffic()
    _people(traffic, weather, random)
    _cars(traffic, kind, weather, random)
    bike = _across(10.9, 3.6, 0.9 + random.uniform(0, 0.5), bool(random.random() < 0.5))
    traffic.cyclists.append(Cyclist(weather, random, bike))
    ahead = _along(1.05, 2.0, 74.0, 4.5, random.uniform(8.0, 14.0), back=False)
    traffic.cyclists.append(Cyclist(weather, random, ahead))
    _parked(traffic, weather, random)
    return traffic


def _people(traffic: Traffic, weather: Weather, random: np.random.Generator) -> None:
    tracks = []
    for z, middle, leftward in ((8.3, 2.6, True), (9.1, 3.5, True), (9.7, 3.0, False)):
        speed = float(random.uniform(1.25, 1.5))
        tracks.append(_across(z + random.uniform(-0.2, 0.2), speed,
                              middle + random.uniform(-0.4, 0.4), leftward))  # fmt: skip
    for x, start, back in ((2.9, 66.0, True), (3.7, 55.0, True), (3.3, 13.0, False)):
        near, far, speed = 5.5, 85.0, float(random.uniform(1.2, 1.5))
        tracks.append(_along(x + random.uniform(-0.2, 0.2), near, far, speed,
                             start + random.uniform(-3, 3), back))  # fmt: skip
    for x, start, back in ((-8.6, 55.0, True), (-9.2, 14.0, False), (-8.9, 30.0, False)):
        tracks.append(_along(x, 12.0, 90.0, float(random.uniform(1.2, 1.5)),
                             start + random.uniform(-4, 4), back))  # fmt: skip
    traffic.people += [Person(weather, random, walking, track) for track in tracks]
    for x, z in ((2.75, 10.6), (4.3, 17.5)):
        heading = float(random.uniform(2.2, 4.2))
        traffic.people.append(
            Person(weather, random, standing, _still(x, z + random.uniform(0, 1), heading, 1.3))
        )


def _cars(traffic: Traffic, kind: SceneKind, weather: Weather, random: np.random.Generator) -> None:
    dipped = 1.8 if kind == "glare" else 1.0
    shapes = list(CAR_SHAPES)

    def add(track: Track) -> None:
        shape = shapes[random.integers(len(shapes))]
        traffic.cars.append(Car(shape, weather, random, track, dipped=dipped))

    away = random.uniform(-0.4, 0.0)
    add(_lane(-1.8, 7.5, away, back=False))
    for pass_s, speed in ((3.9, 8.0), (6.6, 8.0)):
        add(_lane(-5.5, speed, pass_s + random.uniform(-0.3, 0.3), back=True, at=11.5))
    add(_along(-1.9, 45.0, 125.0, 6.0, random.uniform(0, 80), back=False))


def _parked(traffic: Traffic, weather: Weather, random: np.random.Generator) -> None:
    shapes = list(CAR_SHAPES)
    places = [(RIGHT_KERB - 1.05, z, _AHEAD) for z in (19.0, 25.2, 37.5)]
    places += [(LEFT_KERB + 0.95, z, _BACK) for z in (16.5, 22.8, 29.3, 41.0)]
    for x, z, heading in places:
        if random.random() < 0.8:
            place = _still(x, z + random.uniform(-0.4, 0.4), heading)
            shape = shapes[random.integers(len(shapes))]
            traffic.parked.append(Car(shape, weather, random, place, driven=False))
    for z in (13.2, 13.9):
        traffic.parked.append(Bicycle(weather, random, _still(4.75, z, _RIGHT + 0.35)))
