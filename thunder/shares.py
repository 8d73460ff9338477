"""Which posts a replica keeps that holds a share of the authors, and which it answers with.

Share i of n keeps the posts by its authors. A reply is shown or not by what its parent is, and a
repost by what its source is, so a copy of them lives in the share of the author that they refer
to, and that share answers with them: everything a rule looks at is then in one place, and the
shares' answers together are what one large thunder would say (README, "Shares"). In its own
author's share a reply or repost is kept hidden, for the posts that refer to it in turn.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from service_kit.partitions import share_of
from thunder.layout import HIDDEN, REPLY, REPOST

PATTERN: Final = r"^[0-9]{1,3}/[1-9][0-9]{0,2}$"


class ShareError(ValueError):
    """A share that does not exist."""


@dataclass(frozen=True, slots=True)
class Share:
    """``index`` of ``count``; (0, 1) is everything."""

    index: int = 0
    count: int = 1

    @staticmethod
    def parse(text: str) -> Share:
        """From "0/2". Raises ShareError."""
        index, _, count = text.partition("/")
        if not re.fullmatch(PATTERN, text) or int(index) >= int(count):
            raise ShareError(f"share {text!r}: expected i/n with i from 0 to n - 1, such as 0/2")
        return Share(int(index), int(count))

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    def place(
        self, posts: NDArray[np.void], flags: NDArray[np.uint8]
    ) -> tuple[NDArray[np.void], NDArray[np.uint8]]:
        """Those of posts [n] ROW with flags [n] that this share keeps, HIDDEN where another
        share answers with them."""
        if self.count == 1 or posts.size == 0:
            return posts, flags
        own = share_of(posts["author_id"], self.count) == self.index
        answers = share_of(answering_authors(posts, flags), self.count) == self.index
        kept = own | answers
        hidden = np.where(answers, 0, HIDDEN).astype(np.uint8)
        return posts[kept], (flags | hidden)[kept]


WHOLE: Final = Share()


def answering_authors(posts: NDArray[np.void], flags: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """By whose share posts [n] are answered with: that of the author whom a repost or reply
    refers to, where it is known, else that of their own author. [n]"""
    referred = np.where(
        flags & REPOST != 0,
        posts["source_user_id"],
        np.where(flags & REPLY != 0, posts["in_reply_to_user_id"], 0),
    )
    return np.where(referred != 0, referred, posts["author_id"]).astype(np.uint64)
