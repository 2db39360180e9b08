"""From a trained network to a file that runs on a robot: ONNX export and its parity check."""
