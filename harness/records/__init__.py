"""The facts of a run, frozen, and the folder that stores them."""
