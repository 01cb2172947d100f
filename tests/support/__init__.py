"""What several suites share: servers, processes, data, generators."""
