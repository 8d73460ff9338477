"""Each user's best items as a Parquet file, for others to measure: user, rank, item, score."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from phoenix.sequential.interactions import Interactions, typed_ids
from phoenix.sequential.ranking import Ranking


def write_predictions(path: Path, interactions: Interactions, ranking: Ranking) -> int:
    """Write `ranking.top_items` with the file's own ids, rank from 1; returns the rows written.

    Ids are 64-bit integers where all of a kind are, else strings. The file is replaced at once.
    """
    user, place = np.nonzero(ranking.top_items)
    users = pa.array(typed_ids(interactions.user_ids)).take(pa.array(user))
    items = pa.array(typed_ids(interactions.item_ids))
    table = pa.table(
        {
            "user": users,
            "rank": pa.array(place + 1, pa.int32()),
            "item": items.take(pa.array(ranking.top_items[user, place] - 1)),
            "score": pa.array(ranking.top_scores[user, place], pa.float32()),
        }
    )
    temporary = path.with_name(f".{path.name}.tmp")
    pq.write_table(table, temporary)
    temporary.replace(path)
    return len(user)
