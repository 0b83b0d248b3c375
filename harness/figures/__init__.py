"""From records to figures, purely: best paths, twins, ceilings, findings."""
