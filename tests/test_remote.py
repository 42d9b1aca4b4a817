"""Words reach the remote command unchanged, whatever is in them and whichever shell reads them."""

from __future__ import annotations

import ast
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from host.fleet.remote import quote_command, quote_word

LOGIN_SHELLS = ("sh", "dash", "bash", "zsh", "fish", "tcsh", "csh")
TRICKY = [
    "$HOME",
    "`id`",
    "$(id)",
    "a'b",
    'a"b',
    "a\\b",
    "\\",
    "'",
    "",
    "*",
    "~root",
    "-n",
    "!!",
    "!1",
    "#",
    "%s",
]
TRICKY += ["=ls", "%1", "{a,b}", "a;b", "a|b", "a&b", "<a", ">a", "(x)", "[x]", "^x^y", "\t", "ü€", "a\\'b!c"]

words = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
lines = st.text(st.characters(exclude_characters="\0\n\r", exclude_categories=["Cs"]))


def find_shell(name: str) -> str:
    program = shutil.which(name)
    if program is None:
        pytest.skip(f"{name} is not installed: apt-get install {name}")
    return program


def read_back(shell: str, argv: list[str], home: str = "/h o'me") -> list[str]:
    """The words that `printf` gets when a shell reads the quoted command, as sshd would have it do."""
    command = quote_command(["printf", "[%s]\\0", *argv])
    environment = {"HOME": home, "LANG": "C.UTF-8", "PATH": "/usr/bin:/bin"}
    done = subprocess.run([shell, "-c", command], capture_output=True, check=True, env=environment)
    return [part[1:-1] for part in done.stdout.decode().split("\0")[:-1]]


@settings(max_examples=100)
@example([*TRICKY, "a\nb"])
@given(
    st.lists(words.filter(lambda word: word != "~" and not word.startswith("~/")), min_size=1, max_size=20)
)
def test_any_word_passes_through_sh_unchanged(argv: list[str]) -> None:
    assert read_back("sh", argv) == argv


@settings(max_examples=50)
@given(words)
def test_a_word_below_the_home_folder_stays_one_word(word: str) -> None:
    assert read_back("sh", [f"~/{word}"]) == [f"/h o'me/{word}"]


def test_a_tilde_alone_is_the_home_folder() -> None:
    assert read_back("sh", ["~", "x~", "a/~/b"]) == ["/h o'me", "x~", "a/~/b"]


@pytest.mark.parametrize("shell", LOGIN_SHELLS)
def test_every_login_shell_reads_the_words_that_sh_reads(shell: str) -> None:
    program = find_shell(shell)
    ours = [f"~/{word}" for word in TRICKY]
    assert read_back(program, [*TRICKY, *ours]) == [*TRICKY, *(f"/h o'me/{word}" for word in TRICKY)]


@pytest.mark.parametrize("shell", LOGIN_SHELLS[1:])
def test_no_letter_of_any_language_means_anything_to_a_login_shell(shell: str) -> None:
    program = find_shell(shell)

    @settings(max_examples=30)
    @given(st.lists(lines.filter(lambda word: not word.startswith("~")), min_size=1, max_size=20))
    def check(argv: list[str]) -> None:
        assert read_back(program, argv) == argv

    check()


@pytest.mark.parametrize("shell", LOGIN_SHELLS)
def test_a_home_folder_may_be_called_anything(shell: str) -> None:
    home = "/a $HOME 'b' \"c\" `d` \\ !1 ü"
    assert read_back(find_shell(shell), ["~", "~/x y"], home) == [home, f"{home}/x y"]


def test_plain_words_stay_readable() -> None:
    assert quote_command(["python3", "-m", "x.y", "/a/b"]) == "python3 -m x.y /a/b"
    assert quote_word("") == "''"


# Nobody else makes command lines.


def find_calls(tree: ast.AST) -> list[str]:
    """Calls that could hand a text to a shell: `system`, `popen`, `exec_command`, `shell=True`."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name in ("system", "popen", "exec_command", "getoutput", "create_subprocess_shell"):
                found.append(name)
            found += ["shell=" for keyword in node.keywords if keyword.arg == "shell"]
    return found


def test_one_place_hands_command_lines_to_a_shell() -> None:
    root = Path(__file__).parent.parent
    sources = [*root.glob("host/**/*.py"), *root.glob("device_agent/**/*.py")]
    found = {
        (str(path.relative_to(root)), name)
        for path in sources
        for name in find_calls(ast.parse(path.read_text()))
    }
    assert found == {("host/fleet/ssh_remote.py", "exec_command")}
