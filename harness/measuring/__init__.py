"""The measurement of one process: the clock, memory, threads, correctness and the conditions of a GPU."""
