"""From figures to one page and to pictures."""
