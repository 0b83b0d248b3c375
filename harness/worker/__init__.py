"""The fork server of a framework, and what a fresh process does with one case."""
