"""Consent is asked for per purpose and channel; transactional messages need none."""

from tests.support.deciding import Life, campaign, fates, offer, world

_MAIL = {
    "consent": "mail-marketing",
    "when": {"trait": "mail_ok", "is": True},
    "for": {"purpose": "marketing", "channel": "email"},
}


def _life() -> Life:
    call = {"treatment": "sale-call", "channel": "call"}
    campaigns = [
        campaign("sales", offer("sale", 9)),
        campaign("calls", offer("sale", 9, call)),
        campaign("help", offer("help", 9), purpose="service", trigger={"name": "Help"}),
        campaign("receipt", offer("receipt", 1), purpose="transactional"),
    ]
    return Life(world(traits=("mail_ok",), campaigns=campaigns, policies={"consent": [_MAIL]}))


def test_message_without_consent_for_its_purpose_and_channel_is_not_sent() -> None:
    life = _life()
    decision = life.interact("Go", 0)
    assert sorted(life.treatments()) == ["receipt-email", "sale-call"]
    assert fates(decision)["sale-email"] == "consent mail-marketing"
    life.interact("Help", 1)
    assert life.treatments() == ["help-email"]


def test_message_is_sent_while_consent_lasts() -> None:
    life = _life()
    life.interact("Go", 0, mail_ok=True)
    assert "sale-email" in life.treatments()
    life.interact("Go", 1, mail_ok=False)
    assert "sale-email" not in life.treatments()
