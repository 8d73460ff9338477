"""Errors that the command shows as one line."""

from __future__ import annotations

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130  # what a shell expects of a command that Ctrl-C ended


class CommandError(Exception):
    """The work failed; the message says what came, what was expected and how to mend it."""

    exit_code = EXIT_FAILED


class UsageError(CommandError):
    """The command was called wrongly."""

    exit_code = EXIT_USAGE
