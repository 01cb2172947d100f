"""A registry in a compacted Kafka topic."""
