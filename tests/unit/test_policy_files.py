"""Mistakes in policies and campaigns are reported with file, line and remedy."""

import shutil
from pathlib import Path

import pytest

from tests.support.damaged_config import load_after_change

_DEMO = Path(__file__).parents[2] / "deploy" / "demo"
_POLICIES = "policies.yaml"
_CART = "campaigns/cart-recovery.yaml"
_LOYALTY = "campaigns/loyalty.yaml"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(_DEMO, tmp_path / "config"))


@pytest.mark.parametrize(
    ("file", "old_text", "new_text", "words"),
    [
        (_POLICIES, "max: 3, window: 30d", "max: -3, window: 30d", "-3 is too small: 0 or more"),
        (_POLICIES, "per: offer, max: 3", "per: ofer, max: 3", "did you mean 'offer'?"),
        (_POLICIES, "duration: 5m", "duration: 5m\n    for: {purpos: service}", "mean 'purpose'?"),
        (_POLICIES, "outcome: dismiss, count: 2", "count: 2", "either `when`"),
        (_POLICIES, "outcome: dismiss", "outcome: dismissed", "did you mean 'dismiss'?"),
        (_POLICIES, "duration: 5m", "duration: 5 minutes", "not a duration"),
        (_POLICIES, "cap: ten-messages-a-day", "cap: one-email-a-day", "occurs twice"),
        (_CART, "budget: 500", "budget: -500", "-500 is too small"),
        (_CART, "budget: 500", "budget: {amount: 500, currency: USD}", "enrichers.currency.to"),
        (_CART, "value: 70", "value: {trait: veiws}", "did you mean 'views'?"),
        (_CART, "cost: 3.5   ", "p: 1.5      ", "1.5 is too large: 1 or less"),
        (_CART, "issue: retain", "levers: {push: 0}", "0 is too small: more than 0"),
        (_CART, "{cart_adds} things", "{{ cart_ads }} things", "unknown trait 'cart_ads'"),
        (_CART, "{cart_adds} things", "{{ cart_adds }", "template"),
        (_CART, "{cart_adds} things", "{{ cart_adds.upper() }}", "a call is not allowed"),
        (_LOYALTY, "audience: {segment: loyal}", "audience: {trait: views, gt: 5, lt: 5}",
         "no customer can match"),
        (_LOYALTY, "starts: 2024-02-01", "starts: 31/02/2024", "is not a date"),
        (_LOYALTY, "when: {not: {segment: mobile-strugglers}}", "when: {not: {segment: x}}",
         "unknown segment 'x'"),
        (_LOYALTY, "goal: {", "holdout: 2\ngoal: {", "2 is too large: less than 1"),
    ],
)  # fmt: skip
def test_mistake_is_named_with_its_line(
    folder: Path, file: str, old_text: str, new_text: str, words: str
) -> None:
    errors, line = load_after_change(folder, file, old_text, new_text)
    matches = [error for error in errors if error.file == file and words in error.message]
    assert [abs(error.line - line) <= 1 for error in matches] == [True], errors
