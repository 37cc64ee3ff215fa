"""Regular expressions that RE2 compiles, and those that it does not."""

import pytest

from aioposthog_env.sandbox.re2 import groups_of, references_in

TAKEN = {
    "": 0,
    "/u/[^/]+": 0,
    r"/u/(\d+)/(?:x|y)": 1,
    "(?P<id>[0-9]+)": 1,
    "(?<id>[0-9]+)": 1,
    "(?i)abc": 0,
    "(?im-s:abc)": 0,
    "a*?b+?c??": 0,
    "a{2}b{2,}c{2,5}?": 0,
    "a{,2}": 0,
    "a{x}": 0,
    r"\p{Greek}\pN\x{10FFFF}\Q(*\Eend": 0,
    r"\Q(never closed": 0,
    r"\A\z\b\B\.\/\-\_": 0,
    r"\012": 0,
    "[]a]": 0,
    "[^]a]": 0,
    r"[\]a-z]+": 0,
    "[[:alpha:]_]": 0,
    "((a)|(b))": 3,
    "^$|^a$": 0,
}
REFUSED = (
    "(?=a)",
    "(?!a)",
    "(?<=a)",
    "(?<!a)",
    "(?>a)",
    "(?#comment)",
    "(?x)a",
    "(?(1)a|b)",
    "(?R)",
    "(?1)",
    "(?P=id)",
    "(?P>id)",
    "(?|a|b)",
    "(?P<1>a)",
    r"(a)\1",
    r"(?P<a>x)\k<a>",
    r"\g1",
    r"\Z",
    r"\G",
    r"\K",
    r"\h",
    r"\R",
    r"\X",
    r"\N",
    r"\uabcd",
    "a++",
    "a*+",
    "a?+",
    "a{2}+",
    "a**",
    "*a",
    "(*a)",
    "a|*",
    "a{1001}",
    "a{3,2}",
    "a{1,1001}",
    "(a",
    "a)",
    "[a",
    "[]",
    "a\\",
)


@pytest.mark.parametrize(("pattern", "groups"), TAKEN.items())
def test_what_compiles(pattern: str, groups: int) -> None:
    assert groups_of(pattern) == groups


@pytest.mark.parametrize("pattern", REFUSED)
def test_what_does_not_compile(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        groups_of(pattern)


def test_the_groups_that_an_alias_names() -> None:
    assert references_in(r"/u/\1/\2") == [1, 2]
