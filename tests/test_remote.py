"""Words reach the remote command unchanged, whatever is in them."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from host.fleet.remote import quote_command, quote_word

words = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))


def read_back(shell: str, argv: list[str]) -> list[str]:
    """The words that `printf` gets when a shell reads the quoted command."""
    command = quote_command(["printf", "[%s]\\0", *argv])
    done = subprocess.run([shell, "-c", command], capture_output=True, check=True, env={"HOME": "/h o'me"})
    return [part[1:-1] for part in done.stdout.decode().split("\0")[:-1]]


@settings(deadline=None, max_examples=100)
@example(["$HOME", "`id`", "$(id)", "a'b", 'a"b', "a\\b", "", "*", "~root", "-n", "a\nb", "!!", "#", "%s"])
@given(
    st.lists(words.filter(lambda word: word != "~" and not word.startswith("~/")), min_size=1, max_size=20)
)
def test_any_word_passes_through_sh_unchanged(argv: list[str]) -> None:
    assert read_back("sh", argv) == argv


@settings(deadline=None, max_examples=50)
@given(words)
def test_a_word_below_the_home_folder_stays_one_word(word: str) -> None:
    assert read_back("sh", [f"~/{word}"]) == [f"/h o'me/{word}"]


def test_a_tilde_alone_is_the_home_folder() -> None:
    assert read_back("sh", ["~", "x~", "a/~/b"]) == ["/h o'me", "x~", "a/~/b"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "tcsh"])
def test_other_login_shells_read_the_same_words(shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    argv = ["~/a b", "$HOME", "`id`", "a'b", 'a"b', "a\\", "", "*", "%d", "(x)"]
    assert read_back(shutil.which(shell) or shell, argv) == ["/h o'me/a b", *argv[1:]]


def test_plain_words_stay_readable() -> None:
    assert quote_command(["python3", "-m", "x.y", "/a/b"]) == "python3 -m x.y /a/b"
    assert quote_word("") == "''"
