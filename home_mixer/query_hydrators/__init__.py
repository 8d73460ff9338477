"""What must be known about the viewer before candidates are fetched."""
