"""The pages that are made from the code are those of the code as it is."""

import pytest

from tests.docs.pages import DOCS
from tests.examples.test_examples import load_file

MADE = load_file(DOCS / "reference" / "make_reference.py")


@pytest.mark.parametrize("page", sorted(MADE.PAGES))
def test_it_is_up_to_date(page: str) -> None:
    written = (DOCS / "reference" / page).read_text(encoding="utf-8")
    assert written == MADE.PAGES[page](), "run: python docs/reference/make_reference.py"
