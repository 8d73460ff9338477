"""Retrieval that begins with a ranker's parameters has them, and only those that fit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from phoenix.ranker import Ranker
from phoenix.retrieval import RetrievalModel
from phoenix.tasks import warm_start


def test_tables_and_trunk_come_from_the_ranker_and_the_rest_stays(
    ranker_config, retrieval_config, ranker_params
):
    """Without them a short training of retrieval hardly beats popularity."""
    fresh = RetrievalModel(retrieval_config).init(0)
    started = warm_start(fresh, ranker_params)
    for name, table in ranker_params["tables"].items():
        assert np.array_equal(started["tables"][name], table)
    dense = ranker_params["dense"]
    assert np.array_equal(
        started["dense"]["retrieval/~/layer_0"]["query"], dense["ranker/~/layer_0"]["query"]
    )
    assert np.array_equal(
        started["dense"]["retrieval"]["profile_item"], dense["ranker"]["profile_item"]
    )
    own = started["dense"]["retrieval"]["post_direct"]
    assert np.array_equal(own, fresh["dense"]["retrieval"]["post_direct"])


def test_tables_of_another_size_are_left_alone(ranker_config, retrieval_config):
    """Rows of another hash range belong to other ids."""
    other = Ranker(replace(ranker_config, post_rows=ranker_config.post_rows * 2)).init(0)
    fresh = RetrievalModel(retrieval_config).init(1)
    started = warm_start(fresh, other)
    assert np.array_equal(started["tables"]["post"], fresh["tables"]["post"])
    assert np.array_equal(started["tables"]["user"], other["tables"]["user"])


def test_a_ranker_of_another_size_is_refused(ranker_config, retrieval_config):
    """A start that gives nothing must not pass for one that gains much."""
    width = ranker_config.embedding_width * 2
    other = Ranker(replace(ranker_config, embedding_width=width)).init(0)
    with pytest.raises(ValueError, match="same preset"):
        warm_start(RetrievalModel(retrieval_config).init(1), other)
