"""The whole service against a real Mosquitto on the loopback, with plain paho clients."""
