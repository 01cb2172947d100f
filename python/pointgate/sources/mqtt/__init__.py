"""MQTT: `session` reconnects, `connection` settles requests, `channel` reads and writes bytes."""
