"""Serves the ranker and the two towers over gRPC: batching, buckets, caches, hot reload."""
