"""A synthetic community whose true probabilities are known, for the demo and for tests."""

from foryou.world.config import WorldConfig
from foryou.world.world import World, generate

__all__ = ["World", "WorldConfig", "generate"]
