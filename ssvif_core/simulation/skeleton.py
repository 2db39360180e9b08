"""Joints of a body that walks, stands or pedals, for the drawn scenes.

Proportions are those of Winter, Biomechanics and Motor Control of Human Movement (segment lengths
as parts of the body height); the gait is two sines of hip and knee angle, which reads as walking.
Knows nothing of clothes or drawing.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

__all__ = ["Pose", "pedalling", "standing", "walking"]

#: Joints (25, 3) of a body of height 1, X right, Y up, Z ahead, from the way walked [m].
Pose = Callable[[float, float], np.ndarray]

#: Joints by number; of those with two sides the left one, the right one is the next.
PELVIS, NECK, CHIN, BROW, HIP, KNEE, ANKLE, TOE = 0, 1, 2, 3, 4, 6, 8, 10
SHOULDER, ELBOW, WRIST, HAND, CROWN, NAPE = 12, 14, 16, 18, 20, 21
PACK_TOP, PACK_LOW, HEM = 22, 23, 24
#: Lengths of the limbs, parts of the body height.
_LEG, _SHIN, _FOOT, _UPPER_ARM, _FOREARM = 0.245, 0.246, 0.11, 0.186, 0.146


def _trunk(joints: np.ndarray, lean: float) -> None:
    """Everything over the hips: head, shoulders and pack, leant forward about the pelvis."""
    body = np.array([
        (NECK, 0, 0.835, 0.0), (CHIN, 0, 0.895, 0.022), (BROW, 0, 0.938, 0.016),
        (SHOULDER, -0.098, 0.792, 0.0), (SHOULDER + 1, 0.098, 0.792, 0.0),
        (CROWN, 0, 0.949, -0.010), (NAPE, 0, 0.925, -0.026),
        (PACK_TOP, 0, 0.775, -0.095), (PACK_LOW, 0, 0.63, -0.1),
    ])  # fmt: skip
    places, points = body[:, 0].astype(int), body[:, 1:].copy()
    up, ahead = points[:, 1] - joints[PELVIS, 1], points[:, 2]
    points[:, 1] = joints[PELVIS, 1] + up * math.cos(lean) - ahead * math.sin(lean)
    points[:, 2] = joints[PELVIS, 2] + up * math.sin(lean) + ahead * math.cos(lean)
    joints[places] = points


def _reach(joint: np.ndarray, length: float, angle: float) -> np.ndarray:
    """The end of a limb that hangs from `joint`, swung forward by `angle`."""
    return joint + (0.0, -length * math.cos(angle), length * math.sin(angle))


def _stride(phase: float, vigour: float) -> np.ndarray:
    """Joints at a phase [rad] of the gait."""
    joints = np.zeros((25, 3))
    joints[PELVIS] = (0.0, 0.55, 0.0)
    for side, x in ((0, -1.0), (1, 1.0)):
        cycle = phase + side * math.pi
        thigh = vigour * (0.42 * math.sin(cycle) + 0.06)
        knee = 0.08 + vigour * 0.95 * max(0.0, math.cos(cycle + 0.35)) ** 2
        joints[HIP + side] = (0.05 * x, 0.53, 0.0)
        joints[KNEE + side] = _reach(joints[HIP + side], _LEG, thigh)
        joints[ANKLE + side] = _reach(joints[KNEE + side], _SHIN, thigh - knee)
        joints[TOE + side] = _reach(joints[ANKLE + side], _FOOT, thigh - knee + 1.45)
        arm = -vigour * 0.45 * math.sin(cycle)
        shoulder = np.array((0.118 * x, 0.79, 0.0))
        joints[ELBOW + side] = _reach(shoulder, _UPPER_ARM, arm) + (0.018 * x, 0, 0)
        joints[WRIST + side] = _reach(joints[ELBOW + side], _FOREARM, arm + 0.3 * vigour + 0.05)
        joints[HAND + side] = _reach(joints[WRIST + side], 0.045, arm + 0.35)
    joints[HEM] = 0.5 * (joints[KNEE] + joints[KNEE + 1]) + (0.0, 0.1, 0.0)
    _trunk(joints, 0.05 * vigour)
    joints[:, 1] -= joints[ANKLE : TOE + 2, 1].min() - 0.02  # the lower foot is on the ground
    return joints


#: One gait cycle in steps, the first again at the end: poses are interpolated between them.
_STEPS = 64
_CYCLE = np.stack([_stride(2.0 * math.pi * i / _STEPS, 1.0) for i in range(_STEPS + 1)])
_IDLE = np.stack([_stride(sway, 0.25) for sway in np.linspace(-0.2, 0.2, _STEPS + 1)])


def _between(table: np.ndarray, part: float) -> np.ndarray:
    index, rest = divmod(part * _STEPS, 1.0)
    first = min(int(index), _STEPS - 1)
    return table[first] * (1.0 - rest) + table[first + 1] * rest


def walking(way_m: float, height_m: float) -> np.ndarray:
    """Joints while walking: one cycle of both legs in 0.8 body heights of way."""
    return _between(_CYCLE, way_m / (0.8 * height_m) % 1.0)


def standing(way_m: float, height_m: float) -> np.ndarray:
    """Joints while standing; `way_m` sways the body a little."""
    return _between(_IDLE, 0.5 + 0.5 * math.sin(way_m))


def pedalling(way_m: float, height_m: float) -> np.ndarray:
    """Joints on a bicycle of `scene_bicycles`: seat 0.93 m, cranks 0.17 m, gear 5 m a turn."""
    joints = np.zeros((25, 3))
    joints[PELVIS] = np.array((0.0, 1.0, -0.22)) / height_m
    turn = 2.0 * math.pi * way_m / 5.0
    for side, x in ((0, -1.0), (1, 1.0)):
        angle = turn + side * math.pi
        pedal = np.array((0.11 * x, 0.34 - 0.17 * math.cos(angle), 0.02 + 0.17 * math.sin(angle)))
        ankle = pedal / height_m + (0.0, 0.045, -0.03)
        hip = joints[PELVIS] + (0.05 * x, 0.0, 0.0)
        joints[HIP + side], joints[ANKLE + side] = hip, ankle
        joints[KNEE + side] = _bend(hip, ankle, _LEG, _SHIN)
        joints[TOE + side] = ankle + (0.0, -0.03, 0.09)
    _trunk(joints, 0.42)
    for side, x in ((0, -1.0), (1, 1.0)):
        joints[WRIST + side] = np.array((0.24 * x, 1.06, 0.44)) / height_m
        joints[HAND + side] = joints[WRIST + side] + (0.0, -0.005, 0.035)
        joints[ELBOW + side] = _bend(
            joints[SHOULDER + side], joints[WRIST + side], _UPPER_ARM, _FOREARM, ahead=-1.0
        )
    joints[HEM] = joints[PELVIS] + (0.0, -0.02, 0.02)
    return joints


def _bend(
    root: np.ndarray, tip: np.ndarray, upper: float, lower: float, ahead: float = 1.0
) -> np.ndarray:
    """The middle joint of a two-part limb between `root` and `tip`, bent to the front or back."""
    span = tip - root
    length = min(float(np.linalg.norm(span)), upper + lower - 1e-3)
    along = (upper**2 - lower**2 + length**2) / (2.0 * length)
    out = math.sqrt(max(0.0, upper**2 - along**2))
    unit = span / np.linalg.norm(span)
    normal = np.array((0.0, unit[2], -unit[1])) * (-ahead if unit[1] > 0 else ahead)
    if normal[2] * ahead < 0:
        normal = -normal
    return root + unit * along + normal * out
