"""The ROS 2 shell around `ssvif_core`: messages to arrays, pairing, the lifecycle node."""
