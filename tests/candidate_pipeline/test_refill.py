"""Late removals are made good from the tail, without hydrating more of it than is needed."""

from typing import Any

import numpy as np
import pytest

from candidate_pipeline import CandidateTable, ConservationError, Fate, TopKSelector, summary_line
from candidate_pipeline.ledger import Bookkeeper


class Labels:
    """Which rows the late hydrator was asked about, and a verdict of 2 for the bad ones."""

    def __init__(self, bad: set[int], fails_in_round: int | None = None) -> None:
        self.asked: list[list[int]] = []
        self._bad = bad
        self._fails_in_round = fails_in_round

    def hydrate(self, query: Any, table: CandidateTable) -> Any:
        ids = table["id"].tolist()
        self.asked.append(ids)
        if len(self.asked) == self._fails_in_round:
            raise RuntimeError("labels are down")
        return {"verdict": np.array([2 if one in self._bad else 0 for one in ids], np.int8)}


def _pipeline(kit: Any, labels: Labels, late_filters: tuple[Any, ...] = (), **more: Any) -> Any:
    safe = kit.filter("Safe", reads={"verdict"}, keep=lambda query, table: table["verdict"] == 0)
    hydrator = kit.hydrator("Labels", writes={"verdict"}, hydrate=labels.hydrate)
    more.setdefault("selector", TopKSelector("id", "id", 4))
    more.setdefault("result_size", 3)
    return kit.pipeline(
        sources=[kit.ids(range(1, 21))],
        late_hydrators=[hydrator],
        late_filters=[safe, *late_filters],
        **more,
    )


def _feed(kit: Any, run: Any, pipeline: Any) -> tuple[list[int], Any]:
    result = run(pipeline.execute(kit.Ask(), explain=True))
    return result.selected["id"].tolist(), result


def test_nothing_is_refilled_when_enough_are_left(kit: Any, run: Any) -> None:
    labels = Labels(bad={19})
    feed, result = _feed(kit, run, _pipeline(kit, labels))
    assert feed == [20, 18, 17]
    assert labels.asked == [[20, 19, 18, 17]]
    assert result.counts[Fate.TRUNCATED] == 0


def test_only_what_is_missing_is_hydrated_from_the_tail(kit: Any, run: Any) -> None:
    labels = Labels(bad={20, 19, 17})
    feed, _ = _feed(kit, run, _pipeline(kit, labels))
    assert feed == [18, 16, 15]
    assert labels.asked == [[20, 19, 18, 17], [16, 15]]


def test_a_bad_tail_is_walked_in_growing_steps_until_it_ends(kit: Any, run: Any) -> None:
    labels = Labels(bad=set(range(2, 21)))
    feed, result = _feed(kit, run, _pipeline(kit, labels))
    assert feed == [1]
    assert [len(ids) for ids in labels.asked] == [4, 3, 6, 7]
    assert result.degraded_reasons == ()
    assert result.counts[Fate.REMOVED_LATE] == 19


def test_a_refill_that_reaches_too_far_does_not_lengthen_the_feed(kit: Any, run: Any) -> None:
    """Steps grow, so the last may bring more than is missing; the selection's size still holds."""
    labels = Labels(bad=set(range(13, 21)))
    feed, result = _feed(kit, run, _pipeline(kit, labels, result_size=None))
    assert feed == [12, 11, 10, 9]
    assert result.counts[Fate.TRUNCATED] == 4


def test_rounds_are_bounded_and_a_short_feed_says_why(kit: Any, run: Any) -> None:
    labels = Labels(bad=set(range(2, 21)))
    feed, result = _feed(kit, run, _pipeline(kit, labels, refill_rounds_max=2))
    assert feed == []
    assert result.degraded_reasons == ("Refill:rounds_exhausted",)
    assert len(labels.asked) == 3


def test_a_late_deduplication_sees_the_refill_beside_the_first_rows(kit: Any, run: Any) -> None:
    """16 is of 18's conversation: a refill that looks at itself alone would serve both."""
    conversation = {18: 1, 16: 1}

    def keep(query: Any, table: CandidateTable) -> Any:
        keys = [conversation.get(one, -one) for one in table["id"].tolist()]
        mask = np.zeros(len(keys), np.bool_)
        mask[[keys.index(key) for key in set(keys)]] = True
        return mask

    dedup = kit.filter("Dedup", reads={"id"}, keep=keep)
    feed, result = _feed(kit, run, _pipeline(kit, Labels(bad={20, 19, 17}), (dedup,)))
    assert feed == [18, 15, 14]
    assert result.removed_by == {"Safe": 3, "Dedup": 1}


def test_no_refill_when_the_labels_failed(kit: Any, run: Any) -> None:
    """The tail would fare no better, and each round would cost the labels' whole budget."""
    labels = Labels(bad=set(), fails_in_round=1)
    feed, result = _feed(kit, run, _pipeline(kit, labels))
    assert feed == []
    assert len(labels.asked) == 1
    assert result.degraded_reasons == ("Labels:error",)


def test_a_refill_that_fails_keeps_what_was_there(kit: Any, run: Any) -> None:
    labels = Labels(bad={20, 19, 17}, fails_in_round=2)
    feed, _ = _feed(kit, run, _pipeline(kit, labels))
    assert feed == [18]


def test_truncated_come_before_the_tail_in_not_selected(kit: Any, run: Any) -> None:
    feed, result = _feed(kit, run, _pipeline(kit, Labels(bad=set())))
    assert feed == [20, 19, 18]
    assert result.not_selected["id"].tolist() == list(range(17, 0, -1))
    assert (result.counts[Fate.TRUNCATED], result.counts[Fate.NOT_SELECTED]) == (1, 16)


def test_the_sizes_may_depend_on_the_query(kit: Any, run: Any) -> None:
    pipeline = _pipeline(kit, Labels(bad=set()), result_size=lambda query: query.viewer - 5)
    assert _feed(kit, run, pipeline)[0] == [20, 19]


def test_a_selector_that_is_off_leaves_order_and_count(kit: Any, run: Any) -> None:
    class Off(TopKSelector[Any]):
        def enable(self, query: Any) -> bool:
            return False

    pipeline = _pipeline(kit, Labels(bad={1}), selector=Off("id", "id", 4), result_size=None)
    assert _feed(kit, run, pipeline)[0] == list(range(2, 21))


@pytest.mark.parametrize("order", [[0, 1], np.zeros(20, int), np.arange(1, 21), np.zeros(20), "no"])
def test_a_selector_that_loses_or_doubles_rows_is_refused(kit: Any, run: Any, order: Any) -> None:
    class Bad(TopKSelector[Any]):
        def select(self, query: Any, table: CandidateTable) -> Any:
            return order

    pipeline = _pipeline(kit, Labels(bad=set()), selector=Bad("id", "id", 4))
    feed, result = _feed(kit, run, pipeline)
    assert feed == [1, 2, 3]
    assert result.degraded_reasons == ("Bad:bad_output",)


def test_a_lost_candidate_is_an_internal_error_with_counts(kit: Any) -> None:
    books = Bookkeeper(explain=False)
    table = books.fetched(CandidateTable.from_columns(kit.SCHEMA, {"id": [1, 2, 3]}))
    books.ended(table.take([0]), Fate.SERVED, None)  # type: ignore[arg-type]
    with pytest.raises(ConservationError, match="fetched 3 candidates, but 1 have a fate: served="):
        books.check()


def test_the_summary_is_one_line_with_every_fate(kit: Any, run: Any) -> None:
    _, result = _feed(kit, run, _pipeline(kit, Labels(bad={20, 19, 17})))
    line = summary_line(result)
    assert "\n" not in line
    for words in (
        "CandidatePipeline Summary: request_id=r1",
        "fetched=20 served=3 filtered=0 not_selected=14 removed_late=3 truncated=0",
        "fetched=[Ids=20]",
        "removed_per_filter=[Safe=3]",
        "size=4",
    ):
        assert words in line
