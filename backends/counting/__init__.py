"""Executed work, counted: formulations run on shapes alone, through the same `Ops` in which they are written."""
