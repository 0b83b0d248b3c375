"""What machine this is, what else it does meanwhile, and what makers publish of devices."""
