"""The one error type that a user is meant to read.

Everything that a user can put right (a missing file, a wrong size, a model that does not match its
card) is raised as a `SsvifError` whose message ends with what to do next. The command line prints
the message without a traceback; the node logs it. Anything else that is raised is a bug.
"""

from __future__ import annotations

__all__ = ["SsvifError", "StoppedError"]


class SsvifError(RuntimeError):
    """A problem that the user can solve; the message says how."""


class StoppedError(SsvifError):
    """The user stopped it (Ctrl-C); the message says what was done until then."""
