"""From the heads' probabilities to the number that orders a feed."""
