"""The cache must stay within its bound and never mix models."""

from phoenix.serving.context_cache import ContextCache


def test_forgets_the_least_recently_used_beyond_its_bound():
    cache = ContextCache(2)
    cache.put(("v1", b"a"), 1)
    cache.put(("v1", b"b"), 2)
    assert cache.get(("v1", b"a")) == 1  # used again, so b is the oldest
    cache.put(("v1", b"c"), 3)
    assert cache.get(("v1", b"b")) is None
    assert [cache.get(("v1", key)) for key in (b"a", b"c")] == [1, 3]
    assert len(cache) == 2


def test_another_model_version_never_sees_an_encoding():
    cache = ContextCache(2)
    cache.put(("v1", b"a"), 1)
    assert cache.get(("v2", b"a")) is None
