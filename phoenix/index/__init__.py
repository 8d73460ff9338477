"""The live corpus that retrieval searches: which posts may be shown, and their vectors."""
