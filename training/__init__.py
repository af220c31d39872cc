"""Trains and evaluates Molmo."""
