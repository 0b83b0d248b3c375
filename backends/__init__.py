"""Adapters: one file `NAME_backend.py` a framework, found by its name; each ends with `BACKEND = Backend(…)`."""
