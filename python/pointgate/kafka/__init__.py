"""What the Kafka source and the Kafka sink share: settings, librdkafka, and rules for records."""
