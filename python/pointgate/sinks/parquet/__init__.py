"""The sink that writes a Parquet dataset, and the compaction that keeps its files few."""
