"""Tests of pointgate: the contract's cases, the naive oracle, and the core against both."""
