"""Training: losses, the trainer, checkpoints. Needs the `train` extra (torch)."""
