"""Past rates are what was known before; the tables hold what is known at the end."""

import numpy as np
import pytest

from phoenix.config import ranker_preset
from phoenix.data.catalogue import Catalogue
from phoenix.data.impressions import Impressions
from phoenix.data.rates import RatesReader, rate_tables
from phoenix.tables import rate_table_shapes

ACTIONS = ("click", "favorite")
CONFIG = ranker_preset(
    "nano", action_names=ACTIONS, rates=True, tag_rows=64, post_rows=1 << 14, user_rows=1 << 14
)
ROWS = 300


@pytest.fixture
def impressions():
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 2, (ROWS, 2))
    at_ms = rng.integers(1, 200, ROWS)
    catalogue = Catalogue(
        post_ids=np.arange(1, 12),
        tags=rng.integers(0, 4, (11, 2)),
        duration_seconds=np.full(11, 9.0, np.float32),
        created_at_ms=np.zeros(11, np.int64),
        content=np.zeros((11, 0), np.float32),
    )
    return Impressions(
        viewer_ids=rng.integers(1, 9, ROWS),
        post_ids=rng.integers(1, 12, ROWS),
        author_ids=rng.integers(0, 4, ROWS),
        impressed_at_ms=at_ms,
        product_surface=np.ones(ROWS, np.int8),
        labels=labels,
        dwell_seconds=np.full(ROWS, np.nan),
        action_names=ACTIONS,
        weight=rng.integers(0, 2, ROWS),
        known_at_ms=at_ms + rng.integers(0, 20, ROWS),
        labels_known=rng.random((ROWS, 2)) < 0.7,
        catalogue=catalogue,
    )


def counted(rows, wanted):
    """Taken and known among the wanted rows: the plain meaning of a count."""
    wanted = wanted & (rows.weight > 0)
    known = rows.labels_known[wanted]
    return np.concatenate([(rows.labels[wanted] * known).sum(0), known.sum(0)])


def read(impressions, at_ms):
    reader = RatesReader(impressions, CONFIG)
    posts = np.array([[3, 5, 99]])
    return posts, reader.read(
        np.array([2]),
        posts,
        np.array([[1, 0, 3]]),
        impressions.catalogue.tags_of(posts),
        np.array([at_ms]),
    )


@pytest.mark.parametrize("at_ms", [0, 1, 60, 130, 400])
def test_counts_are_those_of_rows_known_strictly_before(impressions, at_ms):
    """One row too many is the label that the model is asked to predict."""
    posts, found = read(impressions, at_ms)
    before = impressions.known_at_ms < at_ms
    np.testing.assert_array_equal(
        found.user[0], counted(impressions, before & (impressions.viewer_ids == 2))
    )
    for slot, (post, author) in enumerate(zip(posts[0], (1, 0, 3), strict=True)):
        of_post = counted(impressions, before & (impressions.post_ids == post))
        np.testing.assert_array_equal(found.keys[0][0, slot], of_post)
        of_author = counted(
            impressions, before & (impressions.author_ids == author) & (author != 0)
        )
        np.testing.assert_array_equal(found.keys[1][0, slot], of_author)
        of_tags = np.zeros(4)
        for tag in impressions.catalogue.tags_of(posts)[0, slot]:
            tags = impressions.catalogue.tags_of(impressions.post_ids)
            for column in range(2):
                of_tags += (tag != 0) * counted(impressions, before & (tags[:, column] == tag))
        np.testing.assert_array_equal(found.keys[2][0, slot], of_tags)


def test_a_label_from_the_future_changes_nothing(impressions):
    """A planted outcome at or after the moment must not be seen before it."""
    at_ms = 100
    later = impressions.known_at_ms >= at_ms
    flipped = impressions.replace(
        labels=np.where(later[:, None], 1 - impressions.labels, impressions.labels)
    )
    one, other = read(impressions, at_ms)[1], read(flipped, at_ms)[1]
    np.testing.assert_array_equal(one.user, other.user)
    for ours, theirs in zip(one.keys, other.keys, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_tables_hold_the_counts_of_the_end(impressions):
    """Serving would score by other rates than the ones that the model was trained with."""
    tables = rate_tables(impressions, CONFIG)
    assert {n: t.shape for n, t in tables.items()} == rate_table_shapes(CONFIG)
    assert not any(table[0].any() for table in tables.values())
    hashed = [tables["post_rates"], tables["user_rates"]]
    for table, column in zip(hashed, (impressions.post_ids, impressions.viewer_ids), strict=True):
        everything = sum(counted(impressions, column == one) for one in np.unique(column))
        np.testing.assert_array_equal(table.sum(0), CONFIG.num_hashes * everything)
