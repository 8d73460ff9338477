"""Posts that nobody knows anything about are not shown; posts without text are."""

from home_mixer.columns import NO, UNKNOWN, YES
from home_mixer.filters.core_data_hydration_filter import CoreDataHydrationFilter


def test_unknown_authors_and_missing_posts_are_removed(make_table, make_query):
    table = make_table(
        {"author_id": 7, "core_data_found": YES},
        {"author_id": 0, "core_data_found": YES},
        {"author_id": 7, "core_data_found": NO},
    )
    assert CoreDataHydrationFilter().keep(make_query(), table).tolist() == [True, False, False]


def test_a_photo_without_text_stays_in_the_feed(make_table, make_query):
    table = make_table({"author_id": 7, "core_data_found": YES, "text": " \n", "has_media": True})
    assert CoreDataHydrationFilter().keep(make_query(), table).tolist() == [True]


def test_a_store_that_did_not_answer_does_not_empty_the_feed(make_table, make_query):
    table = make_table({"author_id": 7, "core_data_found": UNKNOWN})
    assert CoreDataHydrationFilter().keep(make_query(), table).tolist() == [True]
