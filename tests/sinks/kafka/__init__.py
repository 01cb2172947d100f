"""Tests of the Kafka sink, with a real Kafka."""
