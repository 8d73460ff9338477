"""The nouns and verbs of the `foryou` command, one file each."""
