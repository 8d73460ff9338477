"""Feature clients: protocols, and the embedded and in-memory implementations of them."""
