"""Sphinx: `sphinx-build -W -n -b html docs build/docs`."""

from importlib import metadata

project = "hwlottery"
author = "The hwlottery authors"
copyright = "2026, The hwlottery authors"
try:
    release = metadata.version("hwlottery")
except metadata.PackageNotFoundError:
    release = "from the checkout"

extensions = ["myst_parser"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 4
smartquotes = False  # options begin with two hyphens
html_theme = "furo"
html_title = "hwlottery"
html_static_path = ["_static"]
html_css_files = ["wide.css"]
html_theme_options = {"navigation_with_keys": True}
html_show_sourcelink = False
exclude_patterns = ["build"]
