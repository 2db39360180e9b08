"""Running an exported model on frames: engines behind one small interface, and the `Pipeline`."""
