"""Row of docs/degradation.md: one of two home_mixers dies, and clients know both."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session")]


async def test_home_mixer_killed(town: Any) -> None:
    """The client asks the other one, also again what the dead one had begun."""
    both = ",".join(town.processes.addresses[name] for name in ("home-mixer", "home-mixer-2"))
    await town.outage("home_mixer killed", *town.killing("home-mixer-2"), address=both)
