"""Which of the scored candidates are shown."""
