"""`python -m ssvif_core.cli` is the `ssvif` command."""

from ssvif_core.cli import main

main()
