"""Kafka: a record for each entry, a request for each, or Arrow batches."""
