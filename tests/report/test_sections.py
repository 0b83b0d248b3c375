"""Tables as plain text."""

from __future__ import annotations

from harness.report.sections import Section, as_lines

TABLE = Section(
    "Worth",
    ("idea", "backend", "time to quality", "tax"),
    [["local_update", "torch", "1.02 s [0.97, 1.05] modelled", "1.1×"], ["other", "jax", "–", "never"]],
    2,
)


def test_a_table_that_fits_has_a_line_a_row():
    assert as_lines(TABLE, 80) == [
        "Worth",
        "idea          backend  time to quality               tax",
        "local_update  torch    1.02 s [0.97, 1.05] modelled  1.1×",
        "other         jax      –                             never",
    ]


def test_in_a_narrow_terminal_labels_and_intervals_stand_below_each_other():
    lines = as_lines(TABLE, 40)
    assert lines == [
        "Worth",
        "idea         time         tax",
        " backend     to",
        "             quality",
        "local_update 1.02 s       1.1×",
        " torch       [0.97, 1.05]",
        "             modelled",
        "other        –            never",
        " jax",
    ]
