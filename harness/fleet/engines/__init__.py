"""Engines that exist: processes of this computer, Ray, SLURM. What they carry is a command, and bytes come back."""
