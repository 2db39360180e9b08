"""`ssvif <verb>`: one file for each verb. Only this room prints and only this room exits."""

from ssvif_core.cli.app import main

__all__ = ["main"]
