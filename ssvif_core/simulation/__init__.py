"""Drawn street scenes with ground truth: what `make demo` and the tests film. Start at `scenes.py`.

From physics (`physics`, `sensor`, `lights`, `smoke`) and shapes (what stands: `street`, `walls`,
`props`, `maps`, `plate`; what moves: `skeleton`, `people`, `car_model`, `cars`, `bicycles`,
`traffic`) to pixels (`paint`). Knows nothing of ROS, networks or files.
"""
