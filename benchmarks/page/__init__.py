"""docs/performance.md and its pictures, written from benchmarks/results alone."""
