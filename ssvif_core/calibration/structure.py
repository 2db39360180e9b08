"""What a visible and a thermal image have in common: edges and their directions, not their signs.

A warm wall before a cool sky is bright in one image and dark in the other, so a gradient may point
either way; its doubled angle is the same for both. A structure map is the complex field
`g^2 / (|g|^2 + e^2)` of the gradient g = gx + i gy: the angle is twice the gradient's, and the
magnitude goes from 0 (noise) to 1 (an edge, however strong). The real part of the product of one
map with the conjugate of another is cos(2 * angle between the gradients), weighted by both.

After the normalised gradient fields of Haber and Modersitzki (MICCAI 2006, eq. 4), squared as in
orientation correlation (Fitch et al., BMVC 2002).
"""

from __future__ import annotations

import cv2
import numpy as np

__all__ = ["noise_level", "structure_map"]

#: An edge as strong as the mean around it counts half; around: this many times the smoothing.
NEIGHBOURHOOD = 8.0
#: Gradients of noise are taken for nothing up to this many times their standard deviation.
NOISE_FACTOR = 3.0
#: Standard deviation of rounding to 8 bit, the least noise there is.
ROUNDING = 0.29


def noise_level(image: np.ndarray) -> float:
    """Standard deviation of the noise of a (H, W) image, in its units.

    From the median of a second-difference filter (Immerkaer, CVIU 1996, with a median).
    """
    kernel = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
    response = cv2.filter2D(image.astype(np.float32), cv2.CV_32F, kernel)
    return max(ROUNDING, float(np.median(np.abs(response))) / 0.6745 / 6.0)


def structure_map(
    image: np.ndarray,
    sigma: float = 1.5,
    noise: float | None = None,
    mask: np.ndarray | None = None,
) -> np.ndarray:
    """Doubled-angle field of an image.

    Args:
        image: (H, W) uint8 or float32.
        sigma: smoothing before the gradient, in pixels.
        noise: standard deviation of its noise; None measures it.
        mask: (H, W) uint8, 0 where there is no image.

    Returns:
        (H, W, 2) float32: real and imaginary part, length 0..1; 0 outside of the mask.
    """
    noise = noise_level(image) if noise is None else noise
    smooth = cv2.GaussianBlur(image.astype(np.float32), (0, 0), sigma)
    gx = cv2.Scharr(smooth, cv2.CV_32F, 1, 0, scale=1 / 32)
    gy = cv2.Scharr(smooth, cv2.CV_32F, 0, 1, scale=1 / 32)
    power = gx * gx + gy * gy
    if mask is not None:
        reach = 2 * int(np.ceil(2.5 * sigma)) + 1
        inside = cv2.erode(
            mask, np.ones((reach, reach), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=0
        )
        power = np.where(inside > 0, power, 0)
    around = cv2.blur(power, (int(NEIGHBOURHOOD * sigma) * 2 + 1,) * 2)
    if mask is not None:
        share = cv2.blur((inside > 0).astype(np.float32), (int(NEIGHBOURHOOD * sigma) * 2 + 1,) * 2)
        around = around / np.maximum(share, 1e-3)
    # White noise after a Gaussian of sigma: its derivative has variance noise^2 / (8 pi sigma^4).
    floor = NOISE_FACTOR**2 * 2 * noise**2 / (8 * np.pi * sigma**4)
    below = power + around + floor
    real, imaginary = (gx * gx - gy * gy) / below, 2 * gx * gy / below
    if mask is not None:
        outside = inside == 0
        real[outside] = 0
        imaginary[outside] = 0
    return np.dstack([real, imaginary])
