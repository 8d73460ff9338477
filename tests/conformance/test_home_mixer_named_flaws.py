"""Flaws of the original's January feed that ours must not have, each by its name in its threads."""

import numpy as np

from candidate_pipeline.components import FailurePolicy
from candidate_pipeline.table import CandidateTable
from home_mixer.columns import SCHEMA
from home_mixer.filters.author_socialgraph_filter import AuthorSocialgraphFilter
from home_mixer.filters.core_data_hydration_filter import CoreDataHydrationFilter
from home_mixer.filters.drop_duplicates_filter import DropDuplicatesFilter
from home_mixer.filters.ineligible_subscription_filter import IneligibleSubscriptionFilter
from home_mixer.filters.muted_keyword_filter import MutedKeywordFilter
from home_mixer.filters.repost_deduplication_filter import RepostDeduplicationFilter
from home_mixer.filters.vf_filter import VFFilter
from home_mixer.params import load_params
from home_mixer.query import ScoredPostsQuery, sorted_ids
from home_mixer.scorers.weighted_scorer import WeightedScorer
from home_mixer.selectors.top_k_score_selector import TopKScoreSelector

NOW_MS = 1_790_000_000_000


def query(**fields):
    given = {"viewer_id": 1, "request_id": "r", "now_ms": NOW_MS, "params": load_params()}
    return ScoredPostsQuery(**{**given, **fields})


def table(**columns):
    ids = ("post_id", "author_id", "reposted_post_id", "reposted_user_id", "quoted_author_id")
    arrays = {k: np.array(v, np.uint64) if k in ids else v for k, v in columns.items()}
    return CandidateTable.from_columns(SCHEMA, arrays)


def test_posts_that_phoenix_never_scored_do_not_rank_at_epsilon():
    """Upstream: no heads count as heads of 0, so unscored posts beat every net-negative one."""
    candidates = table(post_id=[1, 2], author_id=[7, 8], p_report=[0.5, float("nan")])
    scored = candidates.with_columns(WeightedScorer().score(query(), candidates))
    assert TopKScoreSelector().select(query(), scored).tolist() == [0, 1]


def test_nan_scores_do_not_leave_the_order_undefined():
    """Upstream: NaN compares as equal to everything."""
    candidates = table(post_id=[1, 2, 3], score=[0.1, float("nan"), 0.9])
    assert TopKScoreSelector().select(query(), candidates).tolist() == [2, 0, 1]


def test_a_post_found_by_both_sources_keeps_its_ancestors():
    """Upstream: the retrieval's version wins whole, and it has no ancestors."""
    candidates = table(
        post_id=[5, 5], in_reply_to_post_id=[0, 3], conversation_id=[0, 1], sources=[1, 2]
    )
    keep, columns = DropDuplicatesFilter().merge(query(), candidates)
    (row,) = candidates.with_columns(columns).take(keep).rows()
    ancestors = row["in_reply_to_post_id"], row["conversation_id"]
    assert (ancestors, row["sources"]) == ((3, 1), 3)


def test_a_repost_before_its_original_does_not_show_both():
    """Upstream, January: originals are never removed."""
    candidates = table(post_id=[9, 5], reposted_post_id=[5, 0])
    assert RepostDeduplicationFilter().keep(query(), candidates).tolist() == [True, False]


def test_muted_accounts_do_not_come_back_through_reposts_and_quotes():
    """Upstream: only the author, later the blocked quoted and reposted authors, are looked at."""
    candidates = table(author_id=[2, 3, 4], reposted_user_id=[9, 0, 0], quoted_author_id=[0, 9, 0])
    muting = query(muted_user_ids=sorted_ids([9]))
    assert AuthorSocialgraphFilter().keep(muting, candidates).tolist() == [False, False, True]


def test_media_without_text_is_not_lost():
    """Upstream, January: whitespace text is removed."""
    candidates = table(author_id=[2], core_data_found=np.array([1], np.int8), text=[""])
    assert CoreDataHydrationFilter().keep(query(), candidates).tolist() == [True]


def test_an_outage_of_the_post_store_does_not_empty_the_feed():
    """Upstream: all texts stay empty and the filter then removes everything."""
    candidates = table(author_id=[2, 3])
    assert CoreDataHydrationFilter().keep(query(), candidates).tolist() == [True, True]


def test_an_outage_of_the_safety_labels_does_not_show_unchecked_posts():
    """Upstream: no verdict means keep."""
    assert VFFilter().keep(query(), table(post_id=[1])).tolist() == [False]


def test_a_safety_filter_that_breaks_lets_nothing_through():
    """Upstream: a failed filter is undone, so blocked, muted and unsafe posts pass."""
    safety = (
        AuthorSocialgraphFilter(),
        IneligibleSubscriptionFilter(),
        MutedKeywordFilter(),
        VFFilter(),
    )
    assert {component.on_failure for component in safety} == {FailurePolicy.FAIL_CLOSED}
