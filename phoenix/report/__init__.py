"""The model report: one HTML page that says what a checkpoint is and how good it is."""
