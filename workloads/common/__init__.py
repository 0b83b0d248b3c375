"""What several workloads share: real inputs, sparsity patterns, reference layers in NumPy float64."""
