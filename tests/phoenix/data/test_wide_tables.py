"""The wide part is fitted to what was recorded, and to nothing else."""

import numpy as np
import pytest

from phoenix.config import ranker_preset
from phoenix.data.catalogue import Catalogue
from phoenix.data.impressions import Impressions
from phoenix.data.wide import row_features, wide_tables
from phoenix.wide import wide_table_shapes

ACTIONS = ("click", "favorite")
CONFIG = ranker_preset(
    "nano", action_names=ACTIONS, tag_rows=64, durations=True, wide_action="favorite",
    wide_width=4, user_rows=1 << 12, post_rows=1 << 12, author_rows=1 << 12,
)  # fmt: skip
VIEWERS, POSTS, ROWS = 40, 30, 4_000


@pytest.fixture
def impressions():
    """Viewers like posts of their own parity: nothing of a viewer or a post alone tells it."""
    rng = np.random.default_rng(2)
    viewers, posts = rng.integers(1, VIEWERS + 1, ROWS), rng.integers(1, POSTS + 1, ROWS)
    liked = (viewers + posts) % 2 == 0
    catalogue = Catalogue(
        post_ids=np.arange(1, POSTS + 1),
        tags=np.arange(1, POSTS + 1)[:, None] % 3,
        duration_seconds=np.full(POSTS, 9.0, np.float32),
        created_at_ms=np.zeros(POSTS, np.int64),
        content=np.zeros((POSTS, 0), np.float32),
    )
    return Impressions(
        viewer_ids=viewers,
        post_ids=posts,
        author_ids=np.zeros(ROWS, np.int64),
        impressed_at_ms=np.arange(1, ROWS + 1),
        product_surface=np.ones(ROWS, np.int8),
        labels=np.stack([~liked, liked], axis=1),
        dwell_seconds=np.full(ROWS, np.nan),
        action_names=ACTIONS,
        weight=np.ones(ROWS),
        catalogue=catalogue,
    )


def logits(tables, impressions):
    """The formula pair by pair: [N]."""
    found = np.zeros(len(impressions))
    features = row_features(impressions, CONFIG)
    for row in range(len(found)):
        used = [tables[name][at] for name, columns in features.items() for at in columns[row]]
        pairs = sum(a[1:] @ b[1:] for i, a in enumerate(used) for b in used[:i])
        found[row] = sum(one[0] for one in used) + pairs
    return found


def test_it_learns_who_likes_what(impressions, monkeypatch):
    """A part that knew viewers and posts but not their pairs would be the rates once more."""
    monkeypatch.setattr("phoenix.data.wide.EPOCHS", 40)  # a thousandth of the rows, so more passes
    tables = wide_tables(impressions, CONFIG, 0)
    assert {name: table.shape for name, table in tables.items()} == wide_table_shapes(CONFIG)
    liked = impressions.column("favorite") > 0
    assert ((logits(tables, impressions) > 0) == liked).mean() > 0.95


def test_what_is_no_target_or_was_not_recorded_is_not_learned(impressions):
    """A refusal that nobody recorded would be learned as one."""
    kept = np.arange(ROWS) % 2 == 0
    silent = impressions.replace(weight=kept.astype(np.float32))
    unknown = np.ones((ROWS, 2), np.bool_)
    unknown[~kept, 1] = False
    some, none, other = (
        wide_tables(rows, CONFIG, 0)
        for rows in (silent, impressions.replace(labels_known=unknown), impressions)
    )
    for name, table in some.items():
        np.testing.assert_array_equal(table, none[name])
    assert not np.array_equal(some["post_wide"], other["post_wide"])


def test_a_row_counts_once_whatever_it_weighs(impressions):
    """A weight is of the network's loss: rows learned several times over are learned by heart."""
    heavy = impressions.replace(weight=np.full(ROWS, 8.0))
    once, again = (wide_tables(rows, CONFIG, 0) for rows in (impressions, heavy))
    for name, table in once.items():
        np.testing.assert_array_equal(table, again[name])


def test_one_outcome_alone_gives_its_rate(impressions):
    """A log where nobody ever liked anything is no reason to fail or to answer nan."""
    never = impressions.replace(labels=np.zeros((ROWS, 2)))
    tables = wide_tables(never, CONFIG, 0)
    assert logits(tables, never).max() < -10
    assert not wide_tables(never.take(np.zeros(ROWS, bool)), CONFIG, 0)["post_wide"][:, 0].any()


def test_padding_stays_nothing(impressions):
    """An id that is not known must not be given another's likes."""
    for name, table in wide_tables(impressions, CONFIG, 0).items():
        assert name == "surface_wide" or not table[0].any()
