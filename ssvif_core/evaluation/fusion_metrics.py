"""Nine metrics of a fused image against its two sources. Higher is better for each of them.

Seven are those of the evaluator that most papers of the field use (CDDFuse, Zhao et al., CVPR 2023)
and compare with its figures. MI is in bits here and in nats there: divide ours by 1.4427. SSIM does
not compare and cannot be converted: here its data range is 255, that of the pixels, and there 2,
which scikit-image assumes of floating point.

None is a goal by itself: copying one source wins MI and VIF, equalising the histogram wins SD, SF
and AG. Report all nine, beside trivial baselines, and rank by the mean rank.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from ssvif_core.errors import SsvifError

__all__ = [
    "EDGE_ANGLE",
    "EDGE_STRENGTH",
    "LEAST_SIDE",
    "METRICS",
    "evaluate_fusion",
    "luminance",
]

METRICS = ("EN", "SD", "SF", "AG", "MI", "SCD", "VIF", "Qabf", "SSIM")
#: Pixels that the four scales of VIF need along each side.
LEAST_SIDE = 48
EPSILON = 1e-10
#: In place of a strength of 0 below a strength of 0.
TINY = 1e-30
#: Side of the windows of SSIM.
BOX = 7
#: Terms whose product's logarithm stands for the sum of theirs: (1 + 127.5^2 / 2)^32 is 1e125.
FACTORS = 32
#: Gamma, kappa and sigma of Xydeas & Petrovic 2000, for an edge's strength and for its angle.
EDGE_STRENGTH, EDGE_ANGLE = (0.9994, 15.0, 0.5), (0.9879, 22.0, 0.8)


def luminance(image: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 RGB or (H, W) of any number type -> (H, W) float64, 0..255, BT.601 luma.

    Colour is rounded to whole levels, as `cv2.cvtColor` and MATLAB's `rgb2gray` do.

    Raises:
        SsvifError: the image is empty, has another shape, or is not finite.
    """
    if image.ndim == 3 and image.shape[2] == 3 and image.dtype == np.uint8 and image.size:
        image = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    if image.ndim != 2 or not image.size:
        raise SsvifError(
            f"An image of shape {image.shape} and type {image.dtype} has no luminance."
        )
    gray = image.astype(np.float64)
    if image.dtype.kind not in "bui" and not np.isfinite(gray).all():
        raise SsvifError("An image holds NaN or infinity: look at what made it.")
    return gray


def evaluate_fusion(
    fused: np.ndarray, visible: np.ndarray, thermal: np.ndarray
) -> dict[str, float]:
    """All nine metrics.

    Args:
        fused: (H, W) 0..255, or (H, W, 3) uint8 RGB; likewise `visible` and `thermal`. At least
            `LEAST_SIDE` pixels along each side.

    Returns:
        The value of each of `METRICS`, in their order. MI, VIF and SSIM are sums over the sources.

    Raises:
        SsvifError: shapes differ, or an image is unusable.
    """
    f, v, t = (luminance(image) for image in (fused, visible, thermal))
    if not f.shape == v.shape == t.shape:
        raise SsvifError(f"Sizes differ: fused {f.shape}, visible {v.shape}, thermal {t.shape}.")
    if min(f.shape) < LEAST_SIDE:
        raise SsvifError(
            f"An image of {f.shape} is too small for VIF: use at least {LEAST_SIDE} pixels a side."
        )
    scales, windows = _scales(f), _windows(f)
    levels_v, levels_t, levels_f = _levels(v), _levels(t), _levels(f)
    return {
        "EN": _entropy(levels_f),
        "SD": float(f.std()),
        "SF": spatial_frequency(f),
        "AG": average_gradient(f),
        "MI": _common(levels_v, levels_f) + _common(levels_t, levels_f),
        "SCD": correlation(f - t, v) + correlation(f - v, t),
        "VIF": _fidelity(_scales(v), scales) + _fidelity(_scales(t), scales),
        # In float32: three times as fast, for 2e-6 of difference. VIF would not bear it.
        "Qabf": edge_transfer(*(image.astype(np.float32) for image in (v, t, f))),
        "SSIM": _similarity(_windows(v), windows) + _similarity(_windows(t), windows),
    }


def entropy(image: np.ndarray) -> float:
    """Entropy of the histogram of 256 levels, in bits."""
    return _entropy(_levels(image))


def _entropy(levels: np.ndarray) -> float:
    part = np.bincount(levels.ravel(), minlength=256) / levels.size
    part = part[part > 0]
    return float(-(part * np.log2(part)).sum())


def spatial_frequency(image: np.ndarray) -> float:
    """Root of the mean squared differences along rows and columns (Eskicioglu & Fisher 1995)."""
    return float(np.sqrt((np.diff(image, axis=0) ** 2).mean() + (np.diff(image) ** 2).mean()))


def average_gradient(image: np.ndarray) -> float:
    """Mean of sqrt((gx^2 + gy^2) / 2), by central differences."""
    gy, gx = np.gradient(image)
    gx *= gx
    gy *= gy
    gx += gy
    gx /= 2
    return float(np.sqrt(gx, out=gx).mean())


def mutual_information(source: np.ndarray, fused: np.ndarray) -> float:
    """Mutual information of the two histograms, in bits (Qu et al. 2002)."""
    return _common(_levels(source), _levels(fused))


def _common(source: np.ndarray, fused: np.ndarray) -> float:
    both = (source.astype(np.uint16) << 8) | fused
    joint = np.bincount(both.ravel(), minlength=65536).reshape(256, 256) / source.size
    independent = joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True)
    held = joint > 0
    return float((joint[held] * np.log2(joint[held] / independent[held])).sum())


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson's r, and 0 where one of the two is constant. SCD is a sum of two (Aslantas 2015)."""
    a, b = a - a.mean(), b - b.mean()
    norm = np.sqrt((a * a).sum() * (b * b).sum())
    return float((a * b).sum() / norm) if norm > EPSILON else 0.0


def visual_information(source: np.ndarray, fused: np.ndarray) -> float:
    """Visual information fidelity, pixel domain, four scales (Sheikh & Bovik 2006)."""
    return _fidelity(_scales(source), _scales(fused))


class _Scale(NamedTuple):
    """An image at one of VIF's scales, with what its windows hold; all (h, w) float64.

    Windows within half a kernel of the border would need pixels outside the image. They are worked
    out all the same and left out of the sums: arithmetic on a part of an array takes twice as long.
    `flat` tells where there is no variance; None: nowhere.
    """

    kernel: np.ndarray
    image: np.ndarray
    mean: np.ndarray
    variance: np.ndarray
    flat: np.ndarray | None


def _scales(image: np.ndarray) -> list[_Scale]:
    scales = []
    for scale in range(4):
        size = 2 ** (4 - scale) + 1
        kernel = cv2.getGaussianKernel(size, size / 5.0)
        if scale:
            image = np.ascontiguousarray(_inside(_filtered(image, kernel), kernel)[::2, ::2])
        mean = _filtered(image, kernel)
        variance = _filtered(cv2.multiply(image, image), kernel)
        variance -= cv2.multiply(mean, mean)
        np.maximum(variance, 0.0, out=variance)
        flat = variance < EPSILON
        scales.append(_Scale(kernel, image, mean, variance, flat if flat.any() else None))
    return scales


def _fidelity(source: list[_Scale], fused: list[_Scale]) -> float:
    """Information of the source that is in the fused image, as a part of all of it.

    Where the gain is not positive, or one of the two is flat, nothing is kept.
    """
    noise = 2.0
    kept = possible = 0.0
    for s, f in zip(source, fused, strict=True):
        covariance = _filtered(cv2.multiply(s.image, f.image), s.kernel)
        covariance -= cv2.multiply(s.mean, f.mean)
        np.maximum(covariance, 0.0, out=covariance)
        for flat in (s.flat, f.flat):
            if flat is not None:
                np.copyto(covariance, 0.0, where=flat)
        gain = s.variance + EPSILON
        np.divide(covariance, gain, out=gain)
        covariance *= gain
        rest = np.subtract(f.variance, covariance, out=covariance)
        np.maximum(rest, EPSILON, out=rest)
        gain *= gain
        gain *= s.variance
        rest += noise
        gain /= rest
        kept += _sum_of_logs(_inside(gain, s.kernel))
        possible += _sum_of_logs(_inside(s.variance, s.kernel) * (1 / noise))
    return kept / possible if possible > 0 else 0.0


def _sum_of_logs(x: np.ndarray) -> float:
    """Sum of log(1 + x); few logarithms of products, which cannot overflow for 0..255."""
    terms = (x + 1).ravel()
    whole = len(terms) // FACTORS * FACTORS
    products = np.multiply.reduce(terms[:whole].reshape(FACTORS, -1), axis=0)
    return float(np.log(products).sum() + np.log(terms[whole:]).sum())


def edge_transfer(visible: np.ndarray, thermal: np.ndarray, fused: np.ndarray) -> float:
    """Q^AB/F: how much of the sources' edges, in strength and angle, is kept (Xydeas 2000)."""
    strength_f, angle_f = _edges(fused)
    kept = possible = 0.0
    for source in (visible, thermal):
        strength, angle = _edges(source)
        stronger = cv2.max(strength, strength_f)
        np.maximum(stronger, np.float32(TINY), out=stronger)
        ratio: np.ndarray = cv2.min(strength, strength_f)
        ratio /= stronger
        # Equal strengths count as the strength itself, as in the common implementation.
        np.copyto(ratio, strength_f, where=strength == strength_f)
        alike: np.ndarray = cv2.absdiff(angle, angle_f)
        alike *= -2 / np.pi
        alike += 1
        quality = _quality(ratio, *EDGE_STRENGTH)
        quality *= _quality(alike, *EDGE_ANGLE)
        kept += float(np.vdot(quality, strength))
        possible += float(strength.sum())
    return kept / possible if possible > 0 else 0.0


def _quality(x: np.ndarray, gamma: float, kappa: float, sigma: float) -> np.ndarray:
    """A sigmoid of values from -1 up: its exponential cannot overflow. Works in place."""
    x -= sigma
    x *= -kappa
    x = cv2.exp(x, x)
    x += 1
    return np.divide(gamma, x, out=x)


def structural_similarity(source: np.ndarray, fused: np.ndarray) -> float:
    """Mean SSIM in 7 x 7 windows, data range 255 (Wang et al. 2004)."""
    return _similarity(_windows(source), _windows(fused))


class _Windows(NamedTuple):
    """An image and what its windows of 7 x 7 hold, those beyond its border too; (h, w) float64."""

    image: np.ndarray
    mean: np.ndarray
    squared_mean: np.ndarray
    variance: np.ndarray


def _windows(image: np.ndarray) -> _Windows:
    mean = _boxed(image)
    squared_mean: np.ndarray = cv2.multiply(mean, mean)
    variance = _boxed(cv2.multiply(image, image))
    variance -= squared_mean
    return _Windows(image, mean, squared_mean, variance)


def _similarity(s: _Windows, f: _Windows) -> float:
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    unbiased = BOX**2 / (BOX**2 - 1)
    # (2 m_s m_f + c1)(2 cov + c2) / ((m_s^2 + m_f^2 + c1)(var_s + var_f + c2)), in place
    similar: np.ndarray = cv2.multiply(s.mean, f.mean)
    covariance = _boxed(cv2.multiply(s.image, f.image))
    covariance -= similar
    similar = _scaled(similar, 2, c1)
    similar *= _scaled(covariance, 2 * unbiased, c2)
    similar /= _scaled(s.squared_mean + f.squared_mean, 1, c1)
    similar /= _scaled(s.variance + f.variance, unbiased, c2)
    border = BOX // 2
    return float(similar[border:-border, border:-border].mean())


def _scaled(x: np.ndarray, factor: float, addend: float) -> np.ndarray:
    x *= factor
    x += addend
    return x


def _levels(image: np.ndarray) -> np.ndarray:
    """Whole levels, uint8."""
    levels = np.rint(image)
    return np.clip(levels, 0, 255, out=levels).astype(np.uint8)


def _filtered(image: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    return cv2.sepFilter2D(image, -1, kernel, kernel)


def _inside(image: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Without the border where a filter would need pixels outside the image."""
    border = len(kernel) // 2
    return image[border:-border, border:-border]


def _boxed(image: np.ndarray) -> np.ndarray:
    return cv2.blur(image, (BOX, BOX))


def _edges(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sobel strength, and angle in (-pi/2, pi/2]; the image is continued with zeros."""
    x = cv2.Sobel(image, -1, 1, 0, borderType=cv2.BORDER_CONSTANT)
    y = cv2.Sobel(image, -1, 0, 1, scale=-1, borderType=cv2.BORDER_CONSTANT)
    # Not cv2.magnitude: of float32 its last bit depends on where in memory the image lies.
    strength, upright = x * x, x == 0
    strength += y * y
    np.sqrt(strength, out=strength)
    np.copyto(x, 1.0, where=upright)
    angle = np.divide(y, x, out=y)
    np.arctan(angle, out=angle)
    np.copyto(angle, np.pi / 2, where=upright)
    return strength, angle
