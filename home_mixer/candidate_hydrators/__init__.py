"""Facts about candidates, one component a kind of fact."""
