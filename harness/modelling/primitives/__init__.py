"""A ceiling that `calibrate` measures beside those of every run: a workload that no preset of a run has."""
