"""Models that the ranker must beat, fitted on the same rows in the same run."""
