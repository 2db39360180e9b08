"""Takes off a thermal frame what is the sensor's and not the scene's, before the gain sees it."""

from __future__ import annotations

import numpy as np

from ssvif_core.errors import SsvifError
from ssvif_core.imaging.bad_pixels import BadPixels, fill_not_finite
from ssvif_core.imaging.stripes import STRIPES, Stripes

__all__ = ["BAD_PIXEL_MODES", "ThermalCleaning"]

BAD_PIXEL_MODES = ("auto", "none")


class ThermalCleaning:
    """Bad pixels, then stripes, of one camera. Not thread safe.

    Attributes:
        bad_pixels: "auto" finds and replaces them; "none" leaves the frame alone. NaN and infinity
            of float frames are filled in both.
        stripes: one of `ssvif_core.imaging.stripes.STRIPES`.

    Both may be changed between frames.
    """

    def __init__(self, bad_pixels: str = "auto", stripes: str = "none") -> None:
        self.bad_pixels, self.stripes = bad_pixels, stripes
        self._bad_pixels, self._stripes = BadPixels(), Stripes()

    def apply(self, thermal: np.ndarray) -> np.ndarray:
        """Clean one frame.

        Args:
            thermal: (H, W) uint8, uint16 or float32. It must not change until `look` or the next
                call.

        Returns:
            The same shape and dtype; the frame itself where there was nothing to do.

        Raises:
            SsvifError: a mode is unknown, or no pixel of a float frame is finite.
        """
        if self.bad_pixels not in BAD_PIXEL_MODES or self.stripes not in STRIPES:
            raise SsvifError(
                f"Thermal cleaning: bad_pixels '{self.bad_pixels}' must be one of "
                f"{list(BAD_PIXEL_MODES)}, stripes '{self.stripes}' one of {list(STRIPES)}."
            )
        if thermal.dtype == np.float32:
            thermal = fill_not_finite(thermal)
        if self.bad_pixels == "auto":
            thermal = self._bad_pixels.apply(thermal)
        elif self._bad_pixels.count:
            self._bad_pixels = BadPixels()
        self._stripes.mode = self.stripes
        return self._stripes.apply(thermal)

    def look(self) -> None:
        """Learn from the last frame now, not at the next one; what comes of it is the same."""
        self._bad_pixels.look()

    def describe(self) -> dict[str, object]:
        """What was found, by the keys of /diagnostics."""
        return {"bad_pixels": self._bad_pixels.count, "stripes": self.stripes}
