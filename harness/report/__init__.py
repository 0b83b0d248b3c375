"""From figures to text: the terminal's table, Markdown, LaTeX, CSV and the like."""
