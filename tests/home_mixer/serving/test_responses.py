"""What a caller reads of each post."""

import pytest

from home_mixer.serving.responses import ancestors


@pytest.mark.parametrize(
    ("parent", "root", "expected"),
    [(0, 0, ()), (0, 6, ()), (7, 6, (7, 6)), (6, 6, (6,)), (6, 0, (6,))],
)
def test_a_reply_names_its_parent_and_the_root_of_its_thread(parent, root, expected):
    """A caller would show a reply without what it answers, or the same post twice above it."""
    assert ancestors(parent, root) == expected
