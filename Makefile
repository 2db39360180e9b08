# From a clone to a result: each target installs what it needs into $(VENV), once.
# `make` alone lists the targets.

PYTHON ?= python3
VENV ?= .venv
OUTPUT ?= demo_output
DURATION ?= 15
PYTEST_ARGS ?=
# Tests of the node mostly wait, so a few processes are faster than one even on two cores; each
# takes ROS domains of its own. JOBS=0 runs them in one process (a debugger needs that).
JOBS ?= 3
MINUTES ?= 30
# `make colcon` shows that both of colcon's steps work, with the tests of what is installed. All
# tests run in it with COLCON_TESTS=test; `make test` has run them by then, and twice is long.
COLCON_TESTS ?= test/test_install_tree.py test/test_launch_files.py

VENV_PATH := $(if $(filter /%,$(VENV)),$(VENV),$(CURDIR)/$(VENV))
# A ROS that was sourced in this shell must not mix with the one in $(VENV).
IN_VENV = env -u PYTHONPATH -u PYTHONHOME -u LD_LIBRARY_PATH -u RMW_IMPLEMENTATION -u ROS_DISTRO \
	-u _ROS_WHEELS_BOOTSTRAP_COMPLETE \
	VIRTUAL_ENV="$(VENV_PATH)" AMENT_PREFIX_PATH="$(VENV_PATH)" PATH="$(VENV_PATH)/bin:$$PATH"
PIP_INSTALL = $(IN_VENV) python -m pip install --quiet --disable-pip-version-check \
	--constraint constraints.txt
PACKAGING := setup.py setup.cfg pyproject.toml constraints.txt

.DEFAULT_GOAL := help
.PHONY: help demo test test-long soak lint format parameters colcon clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/.installed-ros ## Fuse two simulated cameras live; VISIBLE= THERMAL= SCENE= MODEL= DURATION= OUTPUT=
	@$(IN_VENV) python -m ssvif_ros.demo --duration $(DURATION) --output "$(OUTPUT)" \
		$(if $(VISIBLE),--visible "$(VISIBLE)") $(if $(THERMAL),--thermal "$(THERMAL)") \
		$(if $(SCENE),--scene "$(SCENE)") $(if $(MODEL),--model "$(MODEL)")

test: $(VENV)/.installed-dev ## Run the tests but the long ones; JOBS= processes, PYTEST_ARGS= for pytest
	@$(IN_VENV) OMP_NUM_THREADS=1 python -m pytest -m "not long" --numprocesses $(JOBS) \
		--dist loadfile $(PYTEST_ARGS)

test-long: $(VENV)/.installed-dev ## A soak, calibrations at full size: some minutes
	@$(IN_VENV) python -m pytest -m long

soak: $(VENV)/.installed-dev ## Thirty minutes of faults; MINUTES=, writes benchmarks/results/soak.json
	@$(IN_VENV) SSVIF_SOAK_MINUTES=$(MINUTES) SSVIF_SOAK_RESULT=benchmarks/results/soak.json \
		python -m pytest -q test/test_soak.py

lint: $(VENV)/.installed-dev ## Check style and types
	@$(IN_VENV) ruff check .
	@$(IN_VENV) ruff format --check .
	@$(IN_VENV) mypy

format: $(VENV)/.installed-dev ## Put every file into the common format
	@$(IN_VENV) ruff check --fix .
	@$(IN_VENV) ruff format .

parameters: $(VENV)/.installed-dev ## Write docs/parameters.md from the declarations
	@$(IN_VENV) python -m ssvif_ros.parameter_table > docs/parameters.md.new
	@mv docs/parameters.md.new docs/parameters.md

colcon: $(VENV)/.installed-dev ## Build and test as on a robot, into build/ and install/
	@$(IN_VENV) colcon build
	@$(IN_VENV) colcon test --event-handlers console_direct+ --return-code-on-test-failure \
		--pytest-args $(COLCON_TESTS)

clean: ## Remove what was built and written, the environment included
	rm -rf build install log demo_output *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find ssvif_core ssvif_ros launch test benchmarks -name __pycache__ -prune -exec rm -rf {} +
	rm -rf "$(VENV)"

# One stamp for each set of packages: installed again only when the packaging changes.
$(VENV)/.installed-ros: $(PACKAGING) | $(VENV)/bin/python
	@echo "Installing ROS 2 and the runtime into $(VENV) (once; about 185 MB to download)"
	@$(IN_VENV) python -c 'import platform, sys; \
		ok = platform.machine() == "x86_64" and sys.platform == "linux" and sys.version_info < (3, 14); \
		sys.exit(0 if ok else "The ROS 2 wheels exist for Linux on x86-64 with Python 3.10 to 3.13. " \
		"With another Python on the machine: make clean, then make PYTHON=python3.12 ...; on another " \
		"machine: use its own ROS 2 and colcon (see README.md).")'
	@$(PIP_INSTALL) --editable '.[ros]'
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed-ros
	@echo "Installing torch and the development tools into $(VENV) (once; large)"
	@$(PIP_INSTALL) --editable '.[ros,train,dev,openvino,tensorrt-check,rerun]'
	@touch $@

$(VENV)/bin/python:
	@command -v "$(PYTHON)" >/dev/null || { \
		echo "$(PYTHON) was not found: install Python >= 3.10 or name one, PYTHON=/path/to/python3" >&2; \
		exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
		echo "$(PYTHON) is $$("$(PYTHON)" --version 2>&1), and Python >= 3.10 is needed:" \
		"name a newer one, PYTHON=/path/to/python3" >&2; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "$(PYTHON) cannot make virtual environments: install its venv module" \
		"(on Debian and Ubuntu: sudo apt install python3-venv)" >&2; exit 1; }
	@"$(PYTHON)" -m venv "$(VENV)"
