"""The edge of home_mixer: messages in, messages out, and what operators see of it."""
