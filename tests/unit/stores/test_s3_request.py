"""A bucket that a request brings along."""

import pytest
from pydantic import SecretStr

from support.web import recorded
from talkhead.errors import Code, TalkheadError
from talkhead.stores.s3 import from_request

GIVEN = {
    "accessId": "AKIA-theirs",
    "accessSecret": "canary-theirs",
    "bucketName": "bucket",
    "endpointUrl": "https://1.1.1.1/storage/v1/s3",
}


def test_a_requests_own_bucket() -> None:
    found = from_request(GIVEN)
    assert found.secret_key is not None
    assert found.model_dump(exclude_none=True, exclude_defaults=True) == {
        "kind": "s3",
        "bucket": "bucket",
        "endpoint": GIVEN["endpointUrl"],
        "access_key": SecretStr("AKIA-theirs"),
        "secret_key": SecretStr("canary-theirs"),
    }


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://1.1.1.1",
        "https://127.0.0.1",
        "https://169.254.169.254",
        "https://[::1]",
        "https://2130706433",
        "https://inside.example",
        "https://half.example",
        "https://nowhere.example",
        "https://user:canary@1.1.1.1",
        "https://1.1.1.1/?canary=1",
        "https://1.1.1.1/#canary",
        "ftp://1.1.1.1",
        "canary",
    ],
)
def test_its_endpoint_is_https_and_public(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with recorded(monkeypatch) as network:
        network.names["inside.example"] = [["10.0.0.1"]]
        network.names["half.example"] = [["1.1.1.1", "fd00::1"]]
        network.names["public.example"] = [["1.1.1.1"]]
        assert from_request({**GIVEN, "endpointUrl": "https://public.example"})
        with pytest.raises(TalkheadError) as caught:
            from_request({**GIVEN, "endpointUrl": endpoint})
        assert not network.connected
    assert caught.value.code is Code.INPUT
    assert caught.value.fields == ("s3Config.endpointUrl",)
    if endpoint != "canary":
        assert "canary" not in str(caught.value.to_dict())


def test_private_hosts_of_the_operator(monkeypatch: pytest.MonkeyPatch) -> None:
    with recorded(monkeypatch) as network:
        network.names["minio.internal"] = [["10.0.0.1"]]
        given = {**GIVEN, "endpointUrl": "https://minio.internal:9000"}
        assert from_request(given, ["minio.internal"]).endpoint == given["endpointUrl"]
        with pytest.raises(TalkheadError, match="public network"):
            from_request(given, ["another.internal"])


@pytest.mark.parametrize(
    ("config", "field"),
    [
        ([], "s3Config"),
        ("x", "s3Config"),
        ({**GIVEN, "accessId": ""}, "s3Config.accessId"),
        ({**GIVEN, "accessSecret": ""}, "s3Config.accessSecret"),
        ({**GIVEN, "bucketName": "arn:aws:s3:::b"}, "s3Config.bucketName"),
        ({**GIVEN, "bucketName": "../x"}, "s3Config.bucketName"),
        ({**GIVEN, "region": "x"}, "s3Config.region"),
        ({name: GIVEN[name] for name in GIVEN if name != "endpointUrl"}, "s3Config.endpointUrl"),
    ],
)
def test_its_parts_are_all_there(config: object, field: str) -> None:
    with pytest.raises(TalkheadError) as caught:
        from_request(config)
    assert caught.value.code is Code.INPUT
    assert caught.value.fields == (field,)
    assert "canary" not in str(caught.value.to_dict())
