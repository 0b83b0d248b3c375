"""The colours of pages and pictures: the scale of the tax, the backends' hues, light and dark.

The tax has a diverging scale around 1 in steps of its logarithm: blue below, orange above. Blue and orange stay apart
for every common kind of colour-blindness, and the number is always printed beside. Categories are those of Okabe & Ito
(2008), made for the colour-blind.
"""

from __future__ import annotations

from bisect import bisect_right

# A tax below the first step has level 0, from the last one up the highest level. 0.8 to 1.25 is neutral.
TAX_STEPS = (0.25, 0.5, 0.8, 1.25, 2.0, 4.0, 8.0, 16.0)
TAX_LIGHT = ("#2c6fb3", "#6ba3d6", "#b5d3ec", "#f1efe9", "#fde3c0", "#fbc68a", "#f2a04e", "#d9761b", "#a94f06")
TAX_DARK = ("#7db8ee", "#3272ad", "#27506f", "#3a3d42", "#584227", "#7d5420", "#97590f", "#d98a35", "#ffb86b")
# Of the two inks, the one that stands out from the level's colour.
TAX_INK_LIGHT = ("#fff", "#111", "#111", "#111", "#111", "#111", "#111", "#111", "#fff")
TAX_INK_DARK = ("#111", "#fff", "#fff", "#fff", "#fff", "#fff", "#fff", "#111", "#111")

CATEGORIES_LIGHT = ("#0072b2", "#d55e00", "#009e73", "#b05a91", "#8a7000", "#3a9bd0", "#7a4a1e", "#555555")
CATEGORIES_DARK = ("#56b4e9", "#f5894a", "#2fc79a", "#e29ac6", "#e6d440", "#9ecbff", "#c9996b", "#bbbbbb")


def tax_level(tax: float | None) -> int | None:
    """The step of the scale that a tax falls on, from 0 (cheap) to 8 (dear); None where it is unknown."""
    return None if tax is None else bisect_right(TAX_STEPS, tax)


def stylesheet() -> str:
    """The classes `tax-0` … `tax-8` in light and in dark."""

    def classes(fills: tuple[str, ...], inks: tuple[str, ...]) -> str:
        both = enumerate(zip(fills, inks, strict=True))
        return "".join(f".tax-{k}{{background:{fill};color:{ink}}}\n" for k, (fill, ink) in both)

    dark = classes(TAX_DARK, TAX_INK_DARK)
    return f"{classes(TAX_LIGHT, TAX_INK_LIGHT)}@media screen and (prefers-color-scheme: dark) {{\n{dark}}}\n"
