"""What an idea is worth: steps, time and energy to a quality, and what compression forgets."""
