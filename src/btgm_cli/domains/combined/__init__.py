"""Criteria made of criteria, for any domain."""
