"""Content vectors of videos: who was shown what, tags and music, brought to W numbers by an SVD.

    X[user, v] = 1 / √(videos shown to the user), and one row a tag and a music title;
    columns of unit length;  X ≈ U Σ Vᵀ,  content(v) = √V · row v of the first W columns of V

U users and tags, V videos. No outcome enters: what was shown says which videos are of a kind, and
only labels could leak. Deterministic: the iteration starts from a fixed vector and signs are fixed.
Latent semantic analysis: Deerwester et al. 1990.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from phoenix.data.catalogue import Catalogue
from phoenix.data.impressions import Impressions
from phoenix.evaluation.kuairand_statics import Statics


def with_content(
    catalogue: Catalogue, statics: Statics, impressions: Impressions, width: int
) -> Catalogue:
    """The catalogue with content vectors [P, width]; `impressions` must be training's alone."""
    # Imported here: only evaluations need scipy.
    from scipy.sparse import coo_matrix
    from scipy.sparse.linalg import svds

    rows, columns, values = _entries(catalogue, statics, impressions)
    matrix = coo_matrix((values, (rows, columns)), (rows.max() + 1, len(catalogue.post_ids)))
    sparse = matrix.tocsr()
    lengths = np.sqrt(np.asarray(sparse.multiply(sparse).sum(axis=0)).ravel())
    unit = sparse.multiply(1.0 / np.maximum(lengths, 1e-9)[None, :]).tocsr()
    _, _, right = svds(unit, k=width, v0=np.ones(min(unit.shape)))
    largest = np.abs(right).argmax(axis=1)
    signs = np.sign(right[np.arange(width), largest])  # an SVD leaves them open
    vectors = (right * signs[:, None]).T * np.sqrt(len(catalogue.post_ids))
    return replace(catalogue, content=vectors.astype(np.float32))


def _entries(
    catalogue: Catalogue, statics: Statics, impressions: Impressions
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Rows, columns and values of X."""
    videos = catalogue.post_ids
    at = np.minimum(np.searchsorted(videos, impressions.post_ids), len(videos) - 1)
    listed = videos[at] == impressions.post_ids
    _, user = np.unique(impressions.viewer_ids[listed], return_inverse=True)
    shown = 1.0 / np.sqrt(np.bincount(user)[user])
    tagged, slot = np.nonzero(statics.tags)
    tag = int(user.max(initial=-1)) + 1 + statics.tags[tagged, slot]
    with_music = np.flatnonzero(statics.music_ids)
    music = int(tag.max(initial=int(user.max(initial=-1)) + 1)) + statics.music_ids[with_music]
    rows = np.concatenate([user, tag, music]).astype(np.int64)
    columns = np.concatenate([at[listed], tagged, with_music]).astype(np.int64)
    values = np.concatenate([shown, np.ones(len(tag) + len(music))])
    return rows, columns, values
