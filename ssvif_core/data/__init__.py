"""Frame pairs to train and test on: paired folders, augmentation, simulated scenes."""
