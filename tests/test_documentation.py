"""docs/ and the README: tables are those of the code, commands exist, links lead somewhere."""

import contextlib
import re
import shlex
import tomllib

import pytest

from penstock import cli
from penstock.documentation import PAGES, ROOT, refreshed
from penstock.errors import PenstockError

EVERY_PAGE = ["README.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))]
TARGETS = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]


@pytest.mark.parametrize("page", PAGES)
def test_tables_are_those_of_the_code(page):
    text = (ROOT / page).read_text()
    assert text == refreshed(page, text), "run: python -m penstock.documentation"


def test_stale_table_is_noticed():
    page = "docs/registers.md"
    text = (ROOT / page).read_text()
    assert refreshed(page, text.replace("| 0x0C |", "| 0x10 |")) == text
    with pytest.raises(ValueError, match=r"docs/registers\.md: must hold one <!-- registers -->"):
        refreshed(page, text.replace("<!-- registers -->", ""))


def commands(text: str) -> list[str]:
    """The command lines of a page's blocks, indented or fenced as sh; no drawing of arrows."""
    text = re.sub(r" \\\n *", " ", text)
    lines = re.findall(r"^    (.*)$", text, re.MULTILINE)
    for block in re.findall(r"^```sh\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        lines += block.splitlines()
    joined = [each for line in lines if "--->" not in line for each in line.split(" && ")]
    return [each.split(" #")[0].strip() for each in joined]


@pytest.mark.parametrize("page", EVERY_PAGE)
def test_commands_exist(page):
    """Their options, too; of make and pip the target and the extras."""
    for line in commands((ROOT / page).read_text()):
        if line.startswith("penstock ") and "<-" not in line and "COMMAND" not in line:
            with contextlib.suppress(SystemExit):  # of --help
                cli._parser().parse_args(shlex.split(line)[1:])
        elif line.startswith("make "):
            assert next(word for word in line.split()[1:] if "=" not in word) in TARGETS
        elif line.startswith("pip install") and "[" in line:
            assert set(re.search(r"\[(.*)\]", line)[1].split(",")) <= set(EXTRAS)


def test_a_command_that_does_not_exist_is_noticed():
    (line,) = commands("text\n\n    penstock report run.json --drawn\n")
    with pytest.raises(PenstockError, match="--drawn"):
        cli._parser().parse_args(shlex.split(line)[1:])


@pytest.mark.parametrize("page", EVERY_PAGE)
def test_links_lead_somewhere(page):
    text = (ROOT / page).read_text()
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", re.sub(r"`[^`\n]*`", "", text)):
        if not target.startswith("https://"):
            assert (ROOT / page).parent.joinpath(target).is_file(), target


def test_the_readme_names_every_page():
    text = (ROOT / "README.md").read_text()
    named = set(re.findall(r"\(docs/(\w+\.md)\)", text))
    there = set(named)
    for page in named:  # or a page that it names
        there |= set(re.findall(r"\]\((\w+\.md)\)", (ROOT / "docs" / page).read_text()))
    assert there == {path.name for path in (ROOT / "docs").glob("*.md")}
