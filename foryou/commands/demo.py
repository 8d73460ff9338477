"""TODO"""

EXAMPLES = ""


def demo() -> None:
    """."""
