"""Training data: impressions with their outcomes, viewer histories, and batches for the models."""
