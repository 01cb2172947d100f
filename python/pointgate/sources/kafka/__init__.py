"""The Kafka source: a consumer group whose records are requests, and a topic for the replies."""
