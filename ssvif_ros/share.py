"""Where the package's launch and config files are, installed by colcon, by pip, or not at all."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import MutableMapping
from pathlib import Path
from xml.etree import ElementTree

from ssvif_core.errors import SsvifError

__all__ = [
    "LOCALHOST_VARIABLE",
    "TRANSPORTS_VARIABLE",
    "profile_variable",
    "share_file",
    "use_shared_memory_profile",
]

logger = logging.getLogger("ssvif.share")

PACKAGE = "ssvif_ros"
#: Where Fast DDS looks for its profile: the first since ROS 2 kilted (which warns of the second),
#: the second before, where the first is not read at all.
PROFILE_VARIABLES = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")
TRANSPORTS_VARIABLE = "FASTDDS_BUILTIN_TRANSPORTS"
LOCALHOST_VARIABLE = "ROS_LOCALHOST_ONLY"
#: Of rmw_fastrtps_cpp in iron, the first that limits discovery, and in kilted, the first with Fast
#: DDS 3; jazzy has 8.4, humble 6.2.
IRON_RMW, KILTED_RMW = 7, 9


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
    """Point Fast DDS at the shipped profile, unless the user has chosen something already.

    The profile would win over `FASTDDS_BUILTIN_TRANSPORTS` (such as UDPv4, where shared memory does
    not work: in some containers, between users). SHM alone is what the profile does better.
    """
    transports = environment.get(TRANSPORTS_VARIABLE, "DEFAULT").partition("?")[0]
    chosen = transports not in ("DEFAULT", "SHM")
    if chosen or any(variable in environment for variable in PROFILE_VARIABLES):
        return
    if environment.get(LOCALHOST_VARIABLE) == "1" and _rmw_is_older_than(IRON_RMW):
        # Humble adds transports that do not leave the machine to those of a profile, and does not
        # take the profile's UDP away.
        logger.warning(
            "%s=1: the shared-memory profile is not used, for on this release of ROS images would "
            "leave the machine with it; without it some may be lost.",
            LOCALHOST_VARIABLE,
        )
        return
    environment[profile_variable()] = str(share_file("config/fastdds_shm.xml"))


def profile_variable() -> str:
    """The one of `PROFILE_VARIABLES` that the installed Fast DDS reads."""
    return PROFILE_VARIABLES[_rmw_is_older_than(KILTED_RMW)]


def _rmw_is_older_than(release: int) -> bool:
    """By what is installed: wheels, and shells without setup.bash, have no ROS_DISTRO."""
    prefixes = [*os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep), sys.prefix]
    for prefix in filter(None, prefixes):
        manifest = Path(prefix) / "share" / "rmw_fastrtps_cpp" / "package.xml"
        if manifest.is_file():
            version = ElementTree.parse(manifest).findtext("version", default="")
            major = version.strip().split(".")[0]
            return major.isdigit() and int(major) < release
    return False
