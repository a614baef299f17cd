"""The names of the older systems."""

import os
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from talkhead.environment import AWS as AWS_FAMILY
from talkhead.environment import FAMILIES, named_of, older_of, store_of
from talkhead.errors import Code, TalkheadError
from talkhead.settings import StoreSettings, load
from talkhead.weights import manifest

KEYS = {"access_key": "a", "secret_key": "s"}
R2 = {"R2_ACCESS_KEY_ID": "a", "R2_SECRET_ACCESS_KEY": "s", "R2_BUCKET_NAME": "b"}
MINIO = {"MINIO_ENDPOINT": "h:9", "MINIO_ACCESS_KEY": "a", "MINIO_SECRET_KEY": "s"}
S3 = {"S3_ENDPOINT": "https://e", "S3_ACCESS_KEY": "a", "S3_SECRET_KEY": "s", "S3_BUCKET": "b"}
BUCKET = {"BUCKET_ACCESS_KEY_ID": "a", "BUCKET_SECRET_ACCESS_KEY": "s"}
NAMED = {"BUCKET_NAME": "b"}
AWS = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "s", "AWS_REGION": "eu-west-1"}
SUPABASE = {"SUPABASE_URL": "https://p.supabase.co", "SUPABASE_BUCKET": "b"}


@pytest.mark.parametrize(
    ("env", "endpoint", "bucket", "region"),
    [
        (R2 | {"R2_ACCOUNT_ID": "x"}, "https://x.r2.cloudflarestorage.com", "b", "auto"),
        (R2 | {"R2_ENDPOINT_URL": "https://r"}, "https://r", "b", "auto"),
        (MINIO | {"MINIO_BUCKET": "b"}, "http://h:9", "b", "us-east-1"),
        (MINIO | {"MINIO_BUCKET": "b", "MINIO_USE_SSL": "True"}, "https://h:9", "b", "us-east-1"),
        (S3 | AWS, "https://e", "b", None),
        (AWS | {"S3_BUCKET": "b"}, None, "b", "eu-west-1"),
        (R2 | {"R2_ENDPOINT_URL": "x.example/b/"}, "https://x.example", "b", "auto"),
        (BUCKET | {"BUCKET_ENDPOINT_URL": "https://e/b"}, "https://e", "b", None),
        (BUCKET | {"BUCKET_ENDPOINT_URL": "https://e/x/b"}, "https://e/x", "b", None),
        (BUCKET | NAMED | {"BUCKET_ENDPOINT_URL": "https://e/b"}, "https://e", "b", None),
        (BUCKET | NAMED | {"BUCKET_ENDPOINT_URL": "https://e/x"}, "https://e/x", "b", None),
        (BUCKET | NAMED | {"BUCKET_ENDPOINT_URL": "https://b.e:9"}, "https://e:9", "b", None),
        *(
            (BUCKET | {"BUCKET_ENDPOINT_URL": f"https://b.{host}"}, f"https://{host}", "b", None)
            for host in (
                "s3.eu-west-1.amazonaws.com",
                "s3-eu-west-1.amazonaws.com",
                "s3.amazonaws.com",
                "nyc3.digitaloceanspaces.com",
                "s3.us-west-004.backblazeb2.com",
                f"{'0f' * 16}.r2.cloudflarestorage.com",
            )
        ),
    ],
)
def test_s3_families(
    env: dict[str, str], endpoint: str | None, bucket: str, region: str | None
) -> None:
    found = store_of(env)
    assert found is not None
    assert found.items() >= ({"kind": "s3", "bucket": bucket} | KEYS).items()
    assert (found.get("endpoint"), found.get("region")) == (endpoint, region)
    TypeAdapter(StoreSettings).validate_python(found)


@pytest.mark.parametrize(
    "name", ["SUPABASE_SERVICE_KEY", "SUPABASE_SERVICE_ROLE_KEY", "SUPABASE_KEY"]
)
def test_supabase(name: str) -> None:
    found = store_of(SUPABASE | {name: "k"})
    assert found == {
        "kind": "supabase", "url": "https://p.supabase.co", "key": "k", "bucket": "b"
    }  # fmt: skip


@pytest.mark.parametrize("env", [{}, AWS, {"PATH": "/bin", "MINIO_BUCKET": " "}])
def test_nothing_meant(env: dict[str, str]) -> None:
    assert store_of(env) is None


@pytest.mark.parametrize(
    ("env", "said"),
    [
        (S3 | MINIO | {"MINIO_BUCKET": "b"}, "MINIO_\\*, S3_\\*"),
        (S3 | SUPABASE | {"SUPABASE_KEY": "k"}, "S3_\\*, SUPABASE_\\*"),
        (MINIO, "MINIO_BUCKET"),
        (SUPABASE, "SUPABASE_SERVICE_KEY"),
        (MINIO | {"MINIO_BUCKET": "b", "MINIO_USE_SSL": "maybe"}, "MINIO_USE_SSL"),
        (BUCKET | {"BUCKET_ENDPOINT_URL": "https://e"}, "no bucket"),
        (
            BUCKET | NAMED | {"BUCKET_ENDPOINT_URL": "https://c.s3.amazonaws.com"},
            "is 'b' and .* 'c'",
        ),
        (BUCKET | NAMED | {"BUCKET_ENDPOINT_URL": "e.example"}, "BUCKET_ENDPOINT_URL is not"),
        (S3 | {"S3_ENDPOINT": "e.example"}, "S3_ENDPOINT .* is not a URL"),
        ({"S3_BUCKET": "b"}, r"S3_\*, without S3_ENDPOINT, S3_ACCESS_KEY"),
        ({"S3_BUCKET": "b", "AWS_ACCESS_KEY_ID": "a"}, r"AWS_\*, without AWS_REGION"),
        (AWS | {"S3_BUCKET": "b", "S3_ENDPOINT": "https://e"}, r"S3_\*, without S3_ACCESS_KEY"),
    ],
)
def test_unclear(env: dict[str, str], said: str) -> None:
    with pytest.raises(TalkheadError, match=said) as caught:
        store_of(env)
    assert caught.value.code is Code.INPUT


@pytest.fixture
def r2(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Describe a store by R2's names alone."""
    others = ("TALKHEAD_STORE", "AWS_", "S3_", "SUPABASE_", "BUCKET_", "MINIO_")
    for name in [name for name in os.environ if name.startswith(others)]:
        monkeypatch.delenv(name)
    for name, value in (R2 | {"R2_ACCOUNT_ID": "x"}).items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def test_older_names_are_read_when_asked_for(r2: pytest.MonkeyPatch) -> None:
    assert load().store.kind == "local"
    found = load(aliases=True)
    assert (found.store.kind, found.store.model_dump()["bucket"]) == ("s3", "b")
    assert "store" in found.model_fields_set


def test_our_names_add_to_older_ones(r2: pytest.MonkeyPatch) -> None:
    r2.setenv("TALKHEAD_STORE__PREFIX", "results")
    r2.setenv("TALKHEAD_STORE__CA_BUNDLE", "ca.pem")
    found = load(aliases=True).store.model_dump()
    assert (found["kind"], found["prefix"], str(found["ca_bundle"])) == ("s3", "results", "ca.pem")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TALKHEAD_STORE__KIND", "local"),
        ("talkhead_store__root", "out"),
        ("TALKHEAD_STORE", '{"kind": "local"}'),
    ],
)
def test_our_names_choose(r2: pytest.MonkeyPatch, name: str, value: str) -> None:
    r2.setenv(name, value)
    assert load(aliases=True).store.kind == "local"


def test_errors_name_the_variable(r2: pytest.MonkeyPatch) -> None:
    r2.setenv("TALKHEAD_STORE__KIND", "supabase")
    with pytest.raises(TalkheadError, match=r"^TALKHEAD_STORE__URL: "):
        load(aliases=True)


def test_the_kind_alone_takes_the_older_names_of_that_kind(r2: pytest.MonkeyPatch) -> None:
    r2.setenv("TALKHEAD_STORE__KIND", "s3")
    assert load(aliases=True).store.model_dump()["bucket"] == "b"
    for name, value in (SUPABASE | {"SUPABASE_KEY": "k"}).items():
        r2.setenv(name, value)
    assert load(aliases=True).store.kind == "s3"
    r2.setenv("TALKHEAD_STORE__KIND", "supabase")
    assert load(aliases=True).store.kind == "supabase"
    r2.delenv("TALKHEAD_STORE__KIND")
    with pytest.raises(TalkheadError) as caught:
        load(aliases=True)
    assert "set TALKHEAD_STORE__KIND to s3 or supabase" in caught.value.hint


def test_two_families_of_one_kind_name_what_to_unset(r2: pytest.MonkeyPatch) -> None:
    r2.setenv("TALKHEAD_STORE__KIND", "s3")
    for name, value in S3.items():
        r2.setenv(name, value)
    with pytest.raises(TalkheadError) as caught:
        load(aliases=True)
    assert "R2_BUCKET_NAME" in caught.value.hint
    assert "S3_BUCKET" in caught.value.hint


def test_every_name_is_documented() -> None:
    page = (Path(__file__).parents[2] / "docs" / "stores.md").read_text()
    names = {
        name
        for family in (*FAMILIES, AWS_FAMILY)
        for alternatives in (*family.needs.values(), *family.may.values())
        for name in alternatives
    }
    assert not {name for name in names if f"`{name}`" not in page}


def test_folders_of_weights_are_named_by_entry() -> None:
    env = {"CKPT_DIR": " /w/Wan2.1-I2V-14B-480P ", "WAV2VEC_DIR": "/w/wav", "QUANT_DIR": ""}
    found = named_of(env)
    assert found["wan-t5"] == found["wan-i2v"] == "/w/Wan2.1-I2V-14B-480P"
    assert found["wav2vec2-zh-config"] == "/w/wav"
    assert len(found) == 8
    assert set(found) <= set(manifest().files)
    both = named_of({"INFINITETALK_DIR": "/w/InfiniteTalk", "QUANT_DIR": "/w/quant"})
    assert set(both) <= set(manifest().files)
    assert named_of({}) == {}


def test_weights_aliases_become_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CKPT_DIR", "/w/wan")
    monkeypatch.setenv("DEFAULT_SAMPLE_STEPS", "12")
    assert load().weights_named == {}
    assert load(weights_aliases=True).weights_named["wan-vae"] == Path("/w/wan")
    assert load(weights_aliases=True).older.steps is None
    assert load(aliases=True).weights_named["wan-vae"] == Path("/w/wan")
    assert load(aliases=True).older.steps == 12
    monkeypatch.setenv("TALKHEAD_OLDER__STEPS", "20")
    monkeypatch.setenv("ENABLE_APG", "1")
    assert (load(aliases=True).older.steps, load(aliases=True).older.apg) == (20, True)
    monkeypatch.setenv("TALKHEAD_WEIGHTS_NAMED", '{"wan-t5": "/x"}')
    assert load(aliases=True).weights_named == {"wan-t5": Path("/x")}


def test_defaults_of_older_payloads_are_read() -> None:
    env = {
        "DEFAULT_SIZE": "infinitetalk-720",
        "DEFAULT_SAMPLE_STEPS": "40",
        "ENABLE_TECACHE": "True",
        "ENABLE_APG": "false",
    }
    assert older_of(env) == {"size": "720p", "steps": 40, "teacache": True, "apg": False}
    assert older_of({"DEFAULT_SIZE": " "}) == {}


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("DEFAULT_SIZE", "720p", "one of infinitetalk-480, infinitetalk-720"),
        ("DEFAULT_SAMPLE_STEPS", "0", "a whole number from 1 to 1000"),
        ("DEFAULT_SAMPLE_STEPS", "8.5", "a whole number"),
        ("ENABLE_TECACHE", "maybe", "one of true, 1, yes, false, 0, no"),
        ("ENABLE_APG", "on", "one of true"),
    ],
)
def test_bad_defaults_name_their_variable(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, told: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(TalkheadError, match=f"^{name} is not {told}") as caught:
        load(aliases=True)
    assert caught.value.code is Code.INPUT
    assert load().older.size is None
