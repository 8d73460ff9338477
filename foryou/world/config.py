"""Size, time and seed of a synthetic world. Everything else about it is a named constant beside
the code that uses it.
"""

from __future__ import annotations

from dataclasses import dataclass

HOUR_MS = 3_600_000

USERS_MIN = 50  # fewer accounts cannot fill a feed of twenty authors
SEEN_SHARE_MAX = 0.3  # of all posts that a viewer may have been shown; the rest is to rank
USERS_MAX = 200_000  # the logging policy holds every impression of the world in memory


@dataclass(frozen=True, slots=True)
class WorldConfig:
    """What makes one world differ from another; equal configurations make equal worlds.

    `now_ms` is where the world ends: posts and actions fill the `window_hours` before it. What
    happens after `cutoff_ms` is history for a feed and training data for nobody.
    """

    seed: int
    users: int
    now_ms: int
    window_hours: float = 48.0
    held_out_hours: float = 2.0
    posts_per_user: float = 3.0
    sessions_per_user: float = 15.0
    posts_per_session: int = 20

    def __post_init__(self) -> None:
        if not USERS_MIN <= self.users <= USERS_MAX:
            raise ValueError(
                f"users is {self.users}, expected {USERS_MIN} to {USERS_MAX}: "
                "choose --users within these bounds"
            )
        if not 0 < self.held_out_hours < self.window_hours:
            raise ValueError(
                f"held_out_hours is {self.held_out_hours}, expected more than 0 and less than "
                f"window_hours ({self.window_hours})"
            )

    @property
    def posts(self) -> int:
        """Posts of the window."""
        return int(self.users * self.posts_per_user)

    @property
    def sessions(self) -> int:
        """Responses that the logging policy gives; in a small world fewer, so that feeds remain."""
        unseen = SEEN_SHARE_MAX * self.posts / self.posts_per_session
        return max(1, int(self.users * min(self.sessions_per_user, unseen)))

    @property
    def start_ms(self) -> int:
        """First millisecond of the window."""
        return self.now_ms - int(self.window_hours * HOUR_MS)

    @property
    def cutoff_ms(self) -> int:
        """No model is trained on what happened at or after this moment."""
        return self.now_ms - int(self.held_out_hours * HOUR_MS)
