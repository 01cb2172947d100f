"""Kafka: a record for each entry, or Arrow batches."""
