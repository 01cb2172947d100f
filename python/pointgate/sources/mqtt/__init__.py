"""MQTT: `session` keeps a `connection` to the broker open, `packets` are its bytes."""
