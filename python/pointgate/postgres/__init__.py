"""What the sink and the registry of PostgreSQL share."""
