"""Reads the published data sets into records."""
