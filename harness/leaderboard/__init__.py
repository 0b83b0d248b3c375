"""From many machines' submissions to a static site."""
