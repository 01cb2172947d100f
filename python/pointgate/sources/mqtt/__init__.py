"""MQTT: `source` reconnects, `connection` settles requests, `channel` reads and writes bytes."""
