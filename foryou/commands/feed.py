"""TODO"""

EXAMPLES = ""


def feed() -> None:
    """."""
