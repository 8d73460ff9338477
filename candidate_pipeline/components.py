"""The seven kinds of component. Subclass one, declare what it reads and writes, and list it.

| kind          | method                                  | gives                              |
|---------------|-----------------------------------------|------------------------------------|
| QueryHydrator | hydrate(query)                          | fields of the query                |
| Source        | fetch(query)                            | columns of new candidates          |
| Hydrator      | hydrate(query, table)                   | columns for every candidate        |
| Filter        | keep(query, table)                      | a mask: True stays                 |
| Scorer        | score(query, table)                     | columns for every candidate        |
| Selector      | select(query, table)                    | row numbers, best first            |
| SideEffect    | run(query, result)                      | nothing; after the response        |

Hydrate, fetch and score may be `async def` or, when they only compute, plain `def`, which costs
less: those of a wave that are `async def` run at the same time, the others before them. Let
`asyncio.CancelledError` pass: it is how a budget ends. Computing inline cannot be interrupted; set
`blocking = True` to run a plain `def` on a thread, where its budget holds.
"""

import enum
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar

from numpy.typing import NDArray

from candidate_pipeline.schema import AnyArray
from candidate_pipeline.table import CandidateTable

if TYPE_CHECKING:
    from candidate_pipeline.result import PipelineResult

DEFAULT_BUDGET_MS = 100.0  # a component that says nothing; a feed answers in tens of milliseconds

Columns = Mapping[str, Any]
"""Column name → array or sequence with one value a row."""

Fields = Mapping[str, object]
"""Query field name → value."""


class Query(Protocol):
    """What the pipeline needs of a query: a (frozen) dataclass with a request id."""

    @property
    def request_id(self) -> str: ...


Q = TypeVar("Q", bound=Query)


class FailurePolicy(enum.StrEnum):
    """What happens when a component fails, runs out of time or returns something wrong.

    SKIP: as if it were not there (a filter keeps all, a source brings nothing).
    FALLBACK: its `fallback` method answers instead.
    FAIL_CLOSED: the safe answer: a source brings nothing, a filter drops all, a hydrator, query
        hydrator or scorer gives what its `fail_closed` method says.
    FAIL_REQUEST: `execute` raises PipelineFailed.
    """

    SKIP = "skip"
    FALLBACK = "fallback"
    FAIL_CLOSED = "fail_closed"
    FAIL_REQUEST = "fail_request"


class Component(ABC, Generic[Q]):
    """What every kind shares. Class attributes are defaults; set them per instance where needed."""

    reads: ClassVar[frozenset[str]] = frozenset()
    """Columns that it reads (query fields, for a QueryHydrator)."""
    writes: ClassVar[frozenset[str]] = frozenset()
    """Columns that it returns (query fields, for a QueryHydrator)."""
    optional_writes: ClassVar[frozenset[str]] = frozenset()
    """Those of `writes` that it may leave out."""
    budget_ms: float = DEFAULT_BUDGET_MS
    on_failure: FailurePolicy = FailurePolicy.SKIP
    blocking: bool = False

    @property
    def name(self) -> str:
        """Unique in its pipeline; appears in reports and degraded reasons."""
        return type(self).__name__

    def enable(self, query: Q) -> bool:
        """Whether it takes part in this request."""
        return True

    def declared_reads(self) -> frozenset[str]:
        """`reads`; override it when they follow from constructor arguments."""
        return self.reads

    def declared_writes(self) -> frozenset[str]:
        """`writes` and `optional_writes`; override it when they follow from the constructor."""
        return self.writes | self.optional_writes

    def required_writes(self) -> frozenset[str]:
        """What an answer must contain."""
        return self.declared_writes() - self.optional_writes


class QueryHydrator(Component[Q]):
    """Adds what must be known about the asker. It writes query fields, with dataclasses.replace.

    One that reads a field which another one writes runs after it.
    """

    @abstractmethod
    def hydrate(self, query: Q) -> Fields | Awaitable[Fields]:
        """Exactly the fields of `writes`."""

    def fallback(self, query: Q) -> Fields:
        """The answer under FailurePolicy.FALLBACK."""
        raise NotImplementedError

    def fail_closed(self, query: Q) -> Fields:
        """The answer under FailurePolicy.FAIL_CLOSED."""
        raise NotImplementedError


class Source(Component[Q]):
    """Brings candidates. It declares in `writes` every column that it may return."""

    @abstractmethod
    def fetch(self, query: Q) -> Columns | Awaitable[Columns]:
        """Columns of one length, among them the pipeline's id column."""

    def fallback(self, query: Q) -> Columns:
        """The answer under FailurePolicy.FALLBACK."""
        raise NotImplementedError


class Hydrator(Component[Q]):
    """Adds facts to candidates. It cannot drop or reorder: it returns columns of the same length.

    One that reads a column which another hydrator of its stage writes runs in a later wave.
    """

    @abstractmethod
    def hydrate(self, query: Q, table: CandidateTable) -> Columns | Awaitable[Columns]:
        """Exactly the columns of `writes`, each [len(table)], in the table's order."""

    def fallback(self, query: Q, table: CandidateTable) -> Columns:
        """The answer under FailurePolicy.FALLBACK."""
        raise NotImplementedError

    def fail_closed(self, query: Q, table: CandidateTable) -> Columns:
        """The answer under FailurePolicy.FAIL_CLOSED: what makes the next filter drop the rows."""
        raise NotImplementedError


class Filter(Component[Q]):
    """The only kind that removes candidates. Runs in the declared order, on what is left."""

    @abstractmethod
    def keep(self, query: Q, table: CandidateTable) -> NDArray[Any] | Awaitable[NDArray[Any]]:
        """A boolean mask [len(table)]; False removes the row. It may be awaitable, as a filter that
        computes long may leave the event loop when there is much to do, and stay when not."""

    def fallback(self, query: Q, table: CandidateTable) -> NDArray[Any]:
        """The mask under FailurePolicy.FALLBACK."""
        raise NotImplementedError


class MergingFilter(Filter[Q]):
    """A filter that also writes: it removes duplicates and lets the survivor know all they knew."""

    def keep(self, query: Q, table: CandidateTable) -> NDArray[Any]:
        """Only the mask of `merge`."""
        return self.merge(query, table)[0]

    @abstractmethod
    def merge(self, query: Q, table: CandidateTable) -> tuple[NDArray[Any], Columns]:
        """(mask, columns): any of the columns in `writes`, [len(table)], set before the removal."""


class Scorer(Component[Q]):
    """Gives candidates numbers. Runs in the declared order and sees earlier scorers' columns.

    It may rewrite an earlier scorer's column when it also reads it.
    """

    @abstractmethod
    def score(self, query: Q, table: CandidateTable) -> Columns | Awaitable[Columns]:
        """Exactly the columns of `writes`, each [len(table)], in the table's order."""

    def fallback(self, query: Q, table: CandidateTable) -> Columns:
        """The answer under FailurePolicy.FALLBACK."""
        raise NotImplementedError

    def fail_closed(self, query: Q, table: CandidateTable) -> Columns:
        """The answer under FailurePolicy.FAIL_CLOSED."""
        raise NotImplementedError


class Selector(Component[Q]):
    """Ranks all candidates; the first `size` are selected, the rest is the tail for refills."""

    size: int | None = None
    """How many are selected; None selects all."""

    @abstractmethod
    def select(self, query: Q, table: CandidateTable) -> AnyArray:
        """Every row number once, best first. See `ranking.rank_descending` and `TopKSelector`."""

    def size_for(self, query: Q) -> int | None:
        """`size`, unless it depends on the query."""
        return self.size


class SideEffect(Component[Q]):
    """Runs after the response, within its own budget; a failure is reported, nobody waits."""

    @abstractmethod
    async def run(self, query: Q, result: "PipelineResult[Q]") -> None:
        """Do it. `query` is the hydrated one."""
