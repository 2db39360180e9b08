"""Sets up the memory of the process that imports it: see `ssvif_core.memory`.

The fusion node imports it before rclpy, whose import starts threads, which have arenas then.
"""

from __future__ import annotations

from ssvif_core.memory import keep_image_buffers, use_one_arena

keep_image_buffers()
use_one_arena()
