"""Recordings played through the node's own pairing and `Pipeline`, and measured. No ROS.

`demo` makes a recording to try it with. `recording` reads one in the order of receipt, `replay`
pairs and fuses it, and what the frames gave goes to the measures (`stability`, `real_time`,
`timeline`, `truth`) and to the sinks (`frame_table`, `outputs`, `summary`, `report`).
"""
