"""A registry in PostgreSQL."""
