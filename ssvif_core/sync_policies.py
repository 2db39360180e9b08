"""The ways to pair two cameras, by name: for the node, for bags and for the command line."""

from __future__ import annotations

from typing import Any

from ssvif_core.errors import SsvifError
from ssvif_core.hold_pairing import HoldPairing
from ssvif_core.pairing import ExactPairing, NearestPairing
from ssvif_core.pairing_base import Pairing

__all__ = ["SYNC_POLICIES", "make_pairing"]

SYNC_POLICIES: dict[str, type[Pairing]] = {
    "nearest": NearestPairing,
    "exact": ExactPairing,
    "hold": HoldPairing,
}


def make_pairing(policy: str, **settings: Any) -> Pairing[Any, Any]:
    """A pairing of the named policy.

    Args:
        policy: a key of `SYNC_POLICIES`.
        settings: those of `Pairing`.

    Raises:
        SsvifError: there is no such policy, or a setting is out of its range.
    """
    if policy not in SYNC_POLICIES:
        raise SsvifError(f"There is no sync policy '{policy}': use one of {list(SYNC_POLICIES)}.")
    return SYNC_POLICIES[policy](**settings)
