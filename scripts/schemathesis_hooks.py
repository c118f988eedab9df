"""Makes generated requests meaningful: the right token, the market of the run, and days that have begun. What is generated to be
refused stays as it is: another type, a missing field, an address of another form, a number out of its range."""

import re

import schemathesis

TOKEN = "token-of-schemathesis"
MARKET = "0x0c2e22fe7526faef28e7a58c84f8723defce200c"
CURRENT_DAY = 400


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
    day = body.get("day")
    if isinstance(day, int) and not isinstance(day, bool) and day > CURRENT_DAY:
        body["day"] = day % CURRENT_DAY + 1
    return body
