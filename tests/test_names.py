"""Names that files may have are written so that nothing stumbles over them."""

import ast
import os
import sys

import pytest

from adpt.running.names import (
    composed,
    file_name,
    printable,
    printable_text,
    shortened,
    spreadsheet_cell,
)
from adpt.running.whole_files import replacing

ODD = (
    "plain.png", "ünï ☃ 漢字.png", "two\nlines", "tab\there", "red\x1b[31m", "c1\x9b", "bell\x07",
    os.fsdecode(b"caf\xe9"), "caf\\udce9", "back\\slash", "right\u202eleft", "\u2028", "\x7f",
)  # fmt: skip


@pytest.mark.skipif(sys.platform == "win32", reason="a backslash parts folders there")
def test_every_name_has_a_spelling_of_its_own_that_can_be_undone() -> None:
    spelled = [printable(name) for name in ODD]
    assert len(set(spelled)) == len(ODD)
    for name, text in zip(ODD, spelled, strict=True):
        assert text.isprintable() or text == name
        assert "\n" not in text
        text.encode()
        quoted = text.replace("'", "\\'")
        assert ast.literal_eval(f"'{quoted}'") == name
    assert spelled[:2] == list(ODD[:2])


@pytest.mark.parametrize("mark", ["\u061c", "\u200e", "\u200f", "\u202a", "\u2067"])
def test_marks_of_direction_are_written_out(mark: str) -> None:
    assert printable(f"a{mark}.png") == printable_text(f"a{mark}.png") == f"a\\u{ord(mark):04x}.png"


def test_a_message_keeps_its_lines_and_backslashes() -> None:
    assert printable_text("one\n\ttwo C:\\x \x1b[31m\udce9") == "one\n\ttwo C:\\x \\x1b[31m\\udce9"


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "＝", "'=", "''+", "\t=", "\r", " =", "\n-"])
def test_what_a_spreadsheet_takes_for_a_formula_is_text(start: str) -> None:
    assert spreadsheet_cell(f"{start}1+1.png") == f"'{start}1+1.png"


@pytest.mark.parametrize("value", [-1.5, 3, None, True, "a=b", "", "'quoted'", "/data/-a.png"])
def test_numbers_and_other_text_stay(value: object) -> None:
    assert spreadsheet_cell(value) is value


@pytest.mark.parametrize("text", ["漢" * 80, "a" * 255, "ü" * 120, "n" * 101])
def test_a_long_name_is_cut_by_bytes_and_stays_one_of_its_own(text: str) -> None:
    for cut in (file_name, shortened):
        assert len(cut(text).encode()) <= 100
        assert cut(text) != cut(f"{text}x")
        assert cut(text)[:20] == text[:20]


def test_a_short_name_stays_but_for_what_troubles_a_link() -> None:
    assert shortened("my key") == "my key"
    assert file_name("my key/\n\udce9☃ü.1") == "my_key____ü.1"


@pytest.mark.parametrize("name", ["漢" * 80 + ".png", "a" * 255, "é" * 127])
def test_a_file_of_the_longest_name_is_written_whole(name: str, tmp_path) -> None:
    with replacing(tmp_path / name) as temporary:
        temporary.write_text("whole")
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_names_that_look_alike_are_equal() -> None:
    assert composed("u\u0308") == composed("ü") == "ü"
