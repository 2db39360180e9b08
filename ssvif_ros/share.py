"""Where the package's launch and config files are, installed by colcon, by pip, or not at all."""

from __future__ import annotations

import os
import sys
from collections.abc import MutableMapping
from pathlib import Path

from ssvif_core.errors import SsvifError

__all__ = ["share_file", "use_shared_memory_profile"]

PACKAGE = "ssvif_ros"
#: Where Fast DDS looks for its profile: the first since ROS 2 kilted (which warns of the second),
#: the second before.
PROFILE_VARIABLES = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")
BEFORE_KILTED = ("humble", "iron", "jazzy")


def share_file(relative: str) -> Path:
    """Path of a file such as `config/fastdds_shm.xml`.

    Raises:
        SsvifError: it is in none of the places where it can be.
    """
    places = [Path(sys.prefix) / "share" / PACKAGE, Path(__file__).resolve().parent.parent]
    for prefix in reversed(os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep)):
        if prefix:
            places.insert(0, Path(prefix) / "share" / PACKAGE)
    for place in places:
        if (place / relative).is_file():
            return place / relative
    raise SsvifError(f"{relative} is in none of {[str(p) for p in places]}: install the package.")


def use_shared_memory_profile(environment: MutableMapping[str, str]) -> None:
    """Point Fast DDS at the shipped profile, unless the user has chosen one already."""
    if not any(variable in environment for variable in PROFILE_VARIABLES):
        older = os.environ.get("ROS_DISTRO") in BEFORE_KILTED
        environment[PROFILE_VARIABLES[older]] = str(share_file("config/fastdds_shm.xml"))
