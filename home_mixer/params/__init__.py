"""Ranking parameters: a versioned table, checked, reloadable, its hash in every response."""

from home_mixer.params.loading import load_params
from home_mixer.params.ranking_params import RankingParams
from home_mixer.params.store import ParamsStore

__all__ = ["ParamsStore", "RankingParams", "load_params"]
