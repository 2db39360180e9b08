"""Fusion and segmentation of visible and thermal images: network, training, engines. No ROS."""

__version__ = "0.1.0"
