"""Words of others: every invisible character is taken out, every visible one stays."""

from __future__ import annotations

import sys
import unicodedata

import pytest

from harness.records.text import INVISIBLE, first_line, one_line, plain, shorten, visible

SEEN = {*range(0x600, 0x606), 0x6DD, 0x70F, 0x890, 0x891, 0x8E2, 0x110BD, 0x110CD}  # format characters with a shape
NO_CHARACTERS = {
    0x2065,
    *range(0xFDD0, 0xFDF0),
    *(plane + last for plane in range(0, 0x110000, 0x10000) for last in (0xFFFE, 0xFFFF)),
}
LATER = set(range(0x13439, 0x13440))  # controls that this Python's Unicode may not know yet


def _invisible(code):
    return unicodedata.category(chr(code)) in ("Cc", "Cf", "Cs", "Zl", "Zp") and code not in SEEN


def test_the_set_is_what_unicode_calls_control_format_surrogate_and_separator():
    ours = {code for low, high in INVISIBLE for code in range(low, high + 1)}
    theirs = {code for code in range(sys.maxunicode + 1) if _invisible(code)}
    assert ours - LATER == (theirs | NO_CHARACTERS) - LATER


def test_every_character_of_the_set_is_taken_out_and_leaves_a_mark():
    for low, high in INVISIBLE:
        for code in range(low, high + 1):
            found = visible(f"a{chr(code)}b")
            assert found in ("a b", "a\ufffdb"), hex(code)


def test_every_other_character_stays():
    gone = {code for low, high in INVISIBLE for code in range(low, high + 1)}
    rest = "".join(chr(code) for code in range(sys.maxunicode + 1) if code not in gone)
    assert visible(rest) == rest


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\nb\tc\r\nd\u2028e\x85f", "a b c  d e f"),
        ("\x1b[31mred\x9b0m", "\ufffd[31mred\ufffd0m"),
        ("over\u202eback\u2066in\u2069", "over\ufffdback\ufffdin\ufffd"),
        ("te\u00adnsor\u200b\ufeff", "te\ufffdnsor\ufffd\ufffd"),
        ("half \ud800 of a pair", "half \ufffd of a pair"),
        ("plain, <b> & ünïcode 漢字 \U0001f642", "plain, <b> & ünïcode 漢字 \U0001f642"),
    ],
)
def test_line_ends_become_blanks_and_the_rest_a_mark(text, expected):
    assert visible(text) == expected


def test_a_text_is_cut_with_a_sign_that_it_was():
    assert shorten("abcdef", 6) == "abcdef"
    assert shorten("abcdefg", 6) == "abcde…"
    assert plain("a\x00" * 10**6, 8) == "a\ufffda\ufffda\ufffda…"
    assert plain(12.5, 80) == "12.5"


def test_one_line_is_the_first_that_says_anything():
    assert one_line("\n  \n first \n second") == "first"
    assert one_line("x" * 1000) == "x" * 299 + "…"
    assert one_line("x" * 1000, 10) == "x" * 9 + "…"
    assert (one_line(""), one_line(None)) == ("", "")
    assert (first_line("\n a \nb"), first_line(" \n"), first_line(None)) == ("a", None, None)
