"""TODO"""

EXAMPLES = ""


def score() -> None:
    """."""
