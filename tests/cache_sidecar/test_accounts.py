"""Clients told apart by the ServiceAccount whose token they show.

Covered: tokens signed by each kind of key; what was forged, altered, made for others, or is out of
its time, is nobody's; keys that can't be used; a renewed token that finds its account's answers,
but only once the upstream accepted that very token; a forged one that finds nothing. Tokens are
signed here as RFC 7518 says; those of a real API server are in e2e/test_account_tokens.
"""

from __future__ import annotations

import time
from base64 import urlsafe_b64encode
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512, HashAlgorithm

from fairstow.cache_sidecar import configuration
from fairstow.cache_sidecar.accounts import Accounts, AccountsSpec
from fairstow.cluster.errors import InputError
from fairstow.web.tokens import PublicKey
from tests.cache_sidecar.sidecars import CATEGORY, Site, run

ISSUER, AUDIENCE = "https://kubernetes.default.svc", "cache"
RSA, OTHER = (rsa.generate_private_key(65537, 2048) for _ in range(2))
CURVES: dict[str, tuple[str, Any, HashAlgorithm]] = {
    "ES256": ("P-256", ec.generate_private_key(ec.SECP256R1()), SHA256()),
    "ES384": ("P-384", ec.generate_private_key(ec.SECP384R1()), SHA384()),
    "ES512": ("P-521", ec.generate_private_key(ec.SECP521R1()), SHA512()),
}


def coded(data: bytes) -> str:
    return urlsafe_b64encode(data).decode().rstrip("=")


def number(value: int) -> str:
    return coded(value.to_bytes((value.bit_length() + 7) // 8))


def public(key: rsa.RSAPrivateKey) -> dict[str, str]:
    numbers = key.public_key().public_numbers()
    return {"kty": "RSA", "kid": "RS256", "n": number(numbers.n), "e": number(numbers.e)}


def point(algorithm: str) -> dict[str, str]:
    curve, key, _ = CURVES[algorithm]
    numbers = key.public_key().public_numbers()
    return {"kty": "EC", "kid": algorithm, "crv": curve, "x": number(numbers.x),
            "y": number(numbers.y)}  # fmt: skip


KEYS = [public(RSA), *map(point, CURVES)]

DAY = 86_400.0  # tokens of parameters are made long before they are shown


def token(algorithm: str = "RS256", *, key: Any = RSA, kid: str = "", **changes: Any) -> str:
    now = time.time()
    claims = {
        "iss": ISSUER, "aud": [AUDIENCE], "sub": "system:serviceaccount:shop:web",
        "nbf": now - 10, "exp": now + DAY, "jti": str(now),
    } | changes  # fmt: skip
    head = {"alg": algorithm, "kid": kid or algorithm}
    text = f"{coded(msgspec.json.encode(head))}.{coded(msgspec.json.encode(claims))}"
    if algorithm in CURVES:
        _, private, digest = CURVES[algorithm]
        size = (private.curve.key_size + 7) // 8
        r, s = decode_dss_signature(private.sign(text.encode(), ec.ECDSA(digest)))
        return f"{text}.{coded(r.to_bytes(size) + s.to_bytes(size))}"
    return f"{text}.{coded(key.sign(text.encode(), padding.PKCS1v15(), SHA256()))}"


def accounts() -> Accounts:
    keys = msgspec.convert(KEYS, tuple[PublicKey, ...])
    return Accounts(AccountsSpec(ISSUER, AUDIENCE, keys))


def whose(shown: str) -> str | None:
    found = accounts().whose(shown, time.time())
    return None if found is None else found.subject


@pytest.mark.parametrize("algorithm", ["RS256", *CURVES])
def test_a_signed_token_is_its_accounts(algorithm: str) -> None:
    good = token(algorithm)
    assert whose(good) == "shop/web"
    head, claims, signature = good.split(".")
    other = coded(msgspec.json.encode({"sub": "system:serviceaccount:shop:db", "aud": AUDIENCE}))
    for forged in (f"{head}.{other}.{signature}", f"{head}.{claims}.{signature[:-8]}",
                   f"{head}.{claims}.", f"{head}.{claims}.é"):  # fmt: skip
        assert whose(forged) is None


@pytest.mark.parametrize(
    "shown",
    [
        "sk-key",
        "..",
        token(key=OTHER),
        token(kid="unknown"),
        token(kid="ES256"),
        token("ES256", kid="RS256"),
        token("none", kid="RS256"),
        token(aud=["https://kubernetes.default.svc"]),
        token(iss="https://other"),
        token(exp=time.time() - 1),
        token(nbf=time.time() + DAY / 2),
        token(exp=None),
        token(sub="system:node:one"),
        token(pad="x" * 9_000),
        token(deep=msgspec.Raw(b"[" * 1_000 + b"]" * 1_000)),
    ],
)
def test_what_the_cluster_has_not_signed_for_here_and_now_is_nobodys(shown: str) -> None:
    assert whose(shown) is None


def test_a_token_that_was_known_ends_with_its_time() -> None:
    known, shown = accounts(), token()
    assert known.whose(shown, time.time()) is not None
    assert known.whose(shown, time.time() + DAY + 1) is None
    assert known.whose(shown, time.time() - 3_600) is None


@pytest.mark.parametrize(
    "keys",
    [
        [],
        [{"kty": "oct", "k": "x"}],
        [{"kty": "EC", "crv": "secp256k1", "x": "AQ", "y": "AQ"}],
        [point("ES256") | {"y": "AQ"}],
        [public(rsa.generate_private_key(65537, 1024))],
        [public(RSA) | {"n": "é"}],
    ],
)
def test_keys_that_cannot_be_used_are_refused(keys: list[dict[str, str]]) -> None:
    said = {"accounts": {"issuer": ISSUER, "audience": AUDIENCE, "keys": keys}}
    with pytest.raises(InputError, match="accounts"):
        configuration.parse(msgspec.json.encode(said).decode(), "test")


def test_a_renewed_token_finds_its_accounts_answers_and_a_forged_one_does_not(
    tmp_path: Path,
) -> None:
    said = {"issuer": ISSUER, "audience": AUDIENCE, "keys": KEYS}

    async def test(site: Site) -> None:
        await site.start(config={"categories": [CATEGORY], "accounts": said}, workload=None)
        first, renewed = token(), token(jti="2")
        assert await site.ask("rain", key=first) == ("bypass", "answer 1")
        await site.stored(1)
        assert await site.ask("rain", key=first) == ("hit-exact", "answer 1")
        # Signed, but the upstream hasn't said yet that it is good.
        assert await site.ask("snow", key=renewed) == ("bypass", "answer 2")
        assert await site.ask("rain", key=renewed) == ("hit-exact", "answer 1")
        others = (token(key=OTHER), token(sub="system:serviceaccount:shop:db"), "sk-key")
        for number, other in enumerate(others, 3):
            assert await site.ask("hail", key=other) == ("bypass", f"answer {number}")
            await site.stored(number)
            assert await site.ask("hail", key=other) == ("hit-exact", f"answer {number}")
        elsewhere = {"openai-project": "p"}
        assert (await site.ask("rain", key=first, headers=elsewhere))[1] == "answer 6"
        site.upstream.status = 401
        assert (await site.ask("other", key=renewed))[0] == "miss"
        assert (await site.ask("rain", key=renewed))[1] == "401"
        assert await site.ask("rain", key=first) == ("hit-exact", "answer 1")

    run(test, tmp_path)
