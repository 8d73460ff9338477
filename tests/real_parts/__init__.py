"""A Kafka and a Redis of the tests' own: the real programs, on 127.0.0.1, ended with the tests."""
