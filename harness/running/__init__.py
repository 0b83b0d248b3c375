"""Carries a plan out: servers, rounds, records, progress."""
