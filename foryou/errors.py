"""Errors that the command shows as one line."""

from __future__ import annotations

EXIT_FAILED = 1
EXIT_USAGE = 2


class CommandError(Exception):
    """The work failed; the message says what came, what was expected and how to mend it."""

    exit_code = EXIT_FAILED


class Interrupted(CommandError):  # noqa: N818 - it is what happened, and nobody's mistake
    """Ctrl-C or SIGTERM ended the work; everything it started has ended, too."""


class UsageError(CommandError):
    """The command was called wrongly."""

    exit_code = EXIT_USAGE
