"""How good a fused image and its labels are: metrics, and the baselines to hold them against."""
