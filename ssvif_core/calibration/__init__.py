"""Where the thermal camera looks, seen from the visible one: estimating what `Calibration` holds.

Arrays in, matrices and figures out. Knows nothing of ROS, and nothing of how frames are warped when
they are fused (`imaging/registration.py`).
"""
