"""What home_mixer asks of its feature stores: one protocol a store, one round trip a call.

Every method takes and returns columns: B = ids asked for, rows of the answer in the order asked.
An id that a store does not know is a row of zeros with ``found`` false, never an error. Ids are
uint64 with 0 for "none"; times are milliseconds since 1970. Implementations: `memory` (tests and
benchmarks), `embedded` (LMDB) and `redis`; `tests/contract/test_feature_store_*.py` holds them all
to one behaviour. All methods raise `StoreError` when the store cannot answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.uint64]
Mask = NDArray[np.bool_]
Objects = NDArray[np.object_]


class StoreError(RuntimeError):
    """A feature store could not answer or could not be written."""


class StoreFullError(StoreError):
    """No room left: in the memory map, or on the disk. Says which, and which setting to raise."""


class StoreFormatError(StoreError):
    """The directory holds another format version, or no feature store at all."""


@dataclass(frozen=True, slots=True)
class PostBatch:
    """Core data of B posts. ``quoted_*`` are 0 once the quoted post's card was taken away."""

    found: Mask
    deleted: Mask
    labels: NDArray[np.uint32]  # bit n = events_pb2.VisibilityLabel number n
    author_id: Ids
    created_at_ms: NDArray[np.int64]
    in_reply_to_post_id: Ids
    in_reply_to_user_id: Ids
    conversation_id: Ids
    reposted_post_id: Ids
    reposted_user_id: Ids
    quoted_post_id: Ids
    quoted_user_id: Ids
    subscription_author_id: Ids
    video_duration_ms: NDArray[np.uint32]  # first video's; 0: no video
    has_media: Mask
    text: Objects  # str


@dataclass(frozen=True, slots=True)
class VisibilityBatch:
    """What late filtering needs of B posts; ``found`` false where the post was never seen."""

    found: Mask
    deleted: Mask
    labels: NDArray[np.uint32]


@dataclass(frozen=True, slots=True)
class ProfileBatch:
    """Profiles of B users."""

    found: Mask
    screen_name: Objects  # str
    verified: Mask
    followers_count: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class UserFeatures:
    """A viewer's lists: ids sorted ascending and unique. An unknown viewer has empty ones."""

    followed_user_ids: Ids
    blocked_user_ids: Ids
    muted_user_ids: Ids
    subscribed_user_ids: Ids
    muted_keywords: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ActionRows:
    """Raw actions of one user, oldest first; equal times by post id, then by action."""

    post_id: Ids
    author_id: Ids
    acted_at_ms: NDArray[np.int64]
    action: NDArray[np.uint8]  # actions_pb2.Action number
    product_surface: NDArray[np.uint8]
    seconds: NDArray[np.float32]  # 0: unknown

    def __len__(self) -> int:
        return int(self.post_id.shape[0])


@dataclass(frozen=True, slots=True)
class RequestInfo:
    """What one request served: kept so that the next page and support can look it up."""

    request_id: str
    served_at_ms: int
    params_hash: str
    post_ids: Ids


class PostStore(Protocol):
    """Core data of posts."""

    async def get_posts(self, post_ids: Ids) -> PostBatch:
        """Rows [B] in the order of ``post_ids`` [B]; repeated ids are answered repeatedly."""


class VisibilityLabelStore(Protocol):
    """Safety labels and deletions."""

    async def get_visibility(self, post_ids: Ids) -> VisibilityBatch:
        """Rows [B] in the order of ``post_ids`` [B]."""


class ProfileStore(Protocol):
    """User profiles."""

    async def get_profiles(self, user_ids: Ids) -> ProfileBatch:
        """Rows [B] in the order of ``user_ids`` [B]."""


class SocialGraphStore(Protocol):
    """Follows, blocks, mutes, subscriptions and muted keywords."""

    async def get_features(self, user_id: int) -> UserFeatures:
        """The viewer's own lists."""

    async def blocks_viewer(self, user_id: int, author_ids: Ids) -> Mask:
        """[B]: author_ids[i] blocks user_id."""

    async def follows_viewer(self, user_id: int, author_ids: Ids) -> Mask:
        """[B]: author_ids[i] follows user_id."""


class ActionSequenceStore(Protocol):
    """The newest actions of each user."""

    async def newest_actions(self, user_id: int, limit: int) -> ActionRows:
        """At most ``limit`` newest actions, oldest of them first."""


class ServedHistoryStore(Protocol):
    """Which posts a viewer was served lately."""

    async def served_since(self, viewer_id: int, since_ms: int, limit: int) -> Ids:
        """Ids served at or after ``since_ms``, newest first, at most ``limit``, unique."""

    async def add_served(self, viewer_id: int, post_ids: Ids, served_at_ms: int) -> None:
        """Idempotent: the same ids at the same time count once."""


class RequestCache(Protocol):
    """The last request of each viewer."""

    async def put_request(self, viewer_id: int, info: RequestInfo) -> None:
        """Keeps the newest by ``served_at_ms``."""

    async def get_request(self, viewer_id: int) -> RequestInfo | None:
        """None: nothing was served to the viewer yet."""


@dataclass(frozen=True, slots=True)
class FeatureClients:
    """Every store of one deployment."""

    posts: PostStore
    visibility: VisibilityLabelStore
    profiles: ProfileStore
    graph: SocialGraphStore
    actions: ActionSequenceStore
    served: ServedHistoryStore
    requests: RequestCache
