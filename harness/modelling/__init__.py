"""Devices described in a file, and what executed work would take on them: reckoned, never measured."""
