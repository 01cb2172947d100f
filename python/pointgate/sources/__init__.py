"""Sources of requests: `base` defines the interface, each folder implements one source."""
