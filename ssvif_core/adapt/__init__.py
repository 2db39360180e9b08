"""A model learns the cameras of one recording, without labels, and is judged on the rest of it.

    material   pairs of a recording (made as the node makes them) or of a folder, split in two
    training   the first part, and the old model's own masks, become a short run of the trainer
    export     an ONNX model with its card, never in the place of the old one
    judge      the last part through both models: paired differences, guards, a verdict

Knows neither ROS nor the command line.
"""
