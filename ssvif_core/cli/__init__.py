"""`ssvif <verb>`: one file for each verb. Only this room prints and only this room exits."""

import sys

__all__ = ["main"]


def main() -> None:
    """Entry point of the `ssvif` script, see `app.main`.

    Every verb needs numpy and OpenCV: where one of these is broken, not even `ssvif doctor` runs.
    """
    try:
        from ssvif_core.cli.app import main as run
    except ImportError as error:
        advice = "pip install ."
        if "numpy" in str(error) and not isinstance(error, ModuleNotFoundError):
            advice = "it was built for another numpy: pip install 'numpy<2'"
        sys.exit(f"error: a package that ssvif needs is missing or broken: {error}. {advice}")
    run()
