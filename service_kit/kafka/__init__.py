"""The event log on Apache Kafka: the sink, the source and the topics' administration."""
