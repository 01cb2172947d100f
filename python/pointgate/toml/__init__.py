"""TOML files that people write: reading, checking, and the types of their values."""
