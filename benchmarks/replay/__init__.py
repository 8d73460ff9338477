"""A week of a real network replayed through real processes that are killed, against an oracle."""
