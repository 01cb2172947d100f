"""TOML files that users write: reading, validation, and the types of their values."""
