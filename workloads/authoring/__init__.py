"""The short form of a workload: what an author writes, and how it becomes the definition that the harness runs."""
