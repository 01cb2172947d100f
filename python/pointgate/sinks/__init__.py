"""Sinks, which store the points in the spool: `base` has the protocol, each folder a kind."""
