"""`pointgate.spark` on a real Spark."""
