"""Drills, to come."""
