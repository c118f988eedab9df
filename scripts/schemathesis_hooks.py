"""Makes generated requests meaningful: the right token, the market of the run, and days that have begun. What is generated to be
refused stays as it is: another type, a missing field, an address of another form, a number out of its range."""

import re

import schemathesis

TOKEN = "token-of-schemathesis"
MARKET = "0x0c2e22fe7526faef28e7a58c84f8723defce200c"
CURRENT_DAY = 400
LARGEST = 2**63 - 1


@schemathesis.hook
def map_body(context, body):
    if not isinstance(body, dict):
        return body
    body = dict(body)
    if isinstance(body.get("token"), str):
        body["token"] = TOKEN
    market = body.get("dataMarketAddress")
    if isinstance(market, str) and re.fullmatch("0[xX][0-9a-fA-F]{40}", market):
        body["dataMarketAddress"] = MARKET
    day = number(body.get("day"))
    if day is not None and CURRENT_DAY < day <= LARGEST:
        body["day"] = day % CURRENT_DAY + 1
    # Every other request is for something that is there.
    for name, most, last in (("epochID", LARGEST, 8), ("slotID", 10_000, 8), ("day", LARGEST, 1)):
        of = number(body.get(name))
        if of is not None and 0 < of <= most and of % 2 == 0:
            body[name] = of // 2 % last + 1
    return body


def number(value):
    """A whole number, which may be written with a point."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value // 1:
        return None
    return int(value)
