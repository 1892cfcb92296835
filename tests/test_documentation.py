"""The tables in docs/ say what the code says."""

import pytest

from penstock.documentation import PAGES, ROOT, refreshed


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
