"""Every error of the package, in one place.

`WiringError` and `ColumnError` speak to the programmer and name what to change. `Degraded` is how
a component says "this is only part of the answer, and here is why". `PipelineFailed` is what a
caller of `execute` may catch.
"""

from collections.abc import Mapping


class WiringError(ValueError):
    """The pipeline's parts do not fit together. Raised at construction, never during a request."""


class ColumnError(ValueError):
    """A column has the wrong name, length or dtype. The message says what came and what fits."""


class BadOutputError(ValueError):
    """A component returned something that its declaration does not allow; the result is refused."""


class Degraded(Exception):  # noqa: N818 - it reports a state of the answer, not only a failure
    """Raised by a component whose answer is partial or missing for a reason that it knows.

    reason: a short lower-case word, reported as "<component>:<reason>" ("partial", "unavailable").
        Several words with commas between them are reported as several reasons.
    output: what the component would have returned (columns, or query fields); it is checked and
        used like any other output. None means that nothing came, and the failure policy applies.
    """

    def __init__(self, reason: str, output: Mapping[str, object] | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.output = output


class PipelineFailed(RuntimeError):  # noqa: N818 - a caller reads it as a sentence
    """The request has no answer: a component whose policy is FAIL_REQUEST failed.

    The component's own exception is the `__cause__`.
    """

    def __init__(self, component: str, reason: str) -> None:
        super().__init__(f"{component} failed ({reason}) and its policy is FAIL_REQUEST")
        self.component = component
        self.reason = reason


class ConservationError(AssertionError):
    """A candidate was lost or doubled inside the pipeline: a bug in it, never a user's mistake."""
