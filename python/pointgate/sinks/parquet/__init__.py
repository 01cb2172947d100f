"""The sink that writes a Parquet dataset, and what keeps the dataset at few files."""
