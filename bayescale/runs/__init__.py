"""Observed runs: tables, what their columns are, what a careful reader objects to."""
