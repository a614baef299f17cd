"""A bucket behind the S3 protocol: AWS, Cloudflare R2, MinIO, Supabase's S3 endpoint."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import quote, urlsplit

import boto3  # type: ignore[import-untyped]
from boto3.exceptions import Boto3Error  # type: ignore[import-untyped]
from boto3.s3.transfer import TransferConfig  # type: ignore[import-untyped]
from botocore.config import Config  # type: ignore[import-untyped]
from botocore.exceptions import BotoCoreError, ClientError  # type: ignore[import-untyped]
from pydantic import Field, SecretStr

from talkhead.errors import Code, TalkheadError
from talkhead.media.address import parse_entry, parse_url
from talkhead.media.pinned import Watch, addresses
from talkhead.request import Strict
from talkhead.settings import S3
from talkhead.stores import MAX_READ, Link, Tick
from talkhead.stores.arriving import refuse_large, write
from talkhead.stores.keys import check_key
from talkhead.validation import validate

PART = 16 * 2**20  # bytes; larger files go in parts of this size
CHUNK = 2**20
LONGEST_S = 7 * 86_400  # signatures of version 4 live no longer
RESOLVE_S = 5.0
MISSING = {"404", "NoSuchKey"}
THERE = {"412", "PreconditionFailed", "409", "ConditionalRequestConflict"}
UNCONDITIONAL = {"501", "NotImplemented"}  # of a service that knows no If-None-Match
RIGHTS = "allow the key to get, put, list and delete in this bucket"
HINTS = {
    "403": RIGHTS,  # HEAD brings no code
    "AccessDenied": RIGHTS,
    "SignatureDoesNotMatch": "secret_key does not fit access_key, or a proxy changes requests",
    "InvalidAccessKeyId": "access_key is not known there",
    "ExpiredToken": "session_token has expired",
    "NoSuchBucket": "bucket does not exist: create it or correct its name",
    "EntityTooLarge": "raise the bucket's limit of file size, or make a smaller file",
    "InvalidKey": "the service takes ASCII keys only: choose a plain prefix and name",
    "RequestTimeTooSkewed": "set this machine's clock",
    "PermanentRedirect": "correct region and endpoint",
    "AuthorizationHeaderMalformed": "correct region",
    "EndpointConnectionError": "endpoint cannot be reached: check it and the network",
    "SSLError": "the server's certificate is not trusted: set ca_bundle",
    "NoCredentialsError": "set access_key and secret_key",
    "PartialCredentialsError": "set access_key and secret_key",
}


class S3Store:
    """Implements Store on a bucket. Clients are made when first needed, and shared by threads."""

    def __init__(self, settings: S3) -> None:
        self.settings = settings
        self.offers = frozenset({"signed", *(("public",) if settings.public_base else ())})
        self._lock = threading.Lock()
        self._clients: dict[str | None, Any] = {}

    @classmethod
    def open(cls, settings: S3) -> Self:
        """Return the store that the settings describe; connects to nothing."""
        return cls(settings)

    def close(self) -> None:
        """Close the connections; the next call opens new ones."""
        with self._lock:
            for client in self._clients.values():
                client.close()
            self._clients.clear()

    def put(self, file: Path, key: str, *, mime: str, sha256: str, create: bool = False) -> bool:
        """Upload file, in parts where it is large, and check what the service then holds.

        A service that ignores If-None-Match can lose the race of two creators, never the check.
        """
        check_key(key)
        extra = {
            "ContentType": mime,
            "CacheControl": "private, max-age=31536000, immutable",
            "ContentDisposition": f"inline; filename*=UTF-8''{quote(key.rpartition('/')[2])}",
            "Metadata": {"sha256": sha256},
        }
        with _failures(Code.STORE, self.settings):
            if create:
                if self._head(key) is not None or not self._create(file, key, extra):
                    return False
            else:
                config = TransferConfig(PART, 4, PART)
                self._client().upload_file(
                    str(file), self.settings.bucket, key, ExtraArgs=extra, Config=config
                )
            head = self._head(key)
        if (
            head is None
            or head["ContentLength"] != file.stat().st_size
            or head.get("Metadata", {}).get("sha256", sha256) != sha256
        ):
            raise TalkheadError(
                Code.STORE, f"the bucket holds something else under {key}", "send the job again"
            )
        return True

    def read(self, key: str) -> bytes | None:
        """Return a small object, or None where there is none."""
        with _failures(Code.STORE, self.settings):
            found = self._object(check_key(key))
            if found is None:
                return None
            with closing(found["Body"]) as body:
                refuse_large(found["ContentLength"], MAX_READ)
                content: bytes = body.read()
                return content

    def get(self, key: str, into: Path, limit: int, tick: Tick) -> bool:
        """Download an object; its digest is checked where this package has put it there."""
        with _failures(Code.DOWNLOAD, self.settings):
            found = self._object(check_key(key))
            if found is None:
                return False
            total, sha256 = found["ContentLength"], found.get("Metadata", {}).get("sha256")
            with closing(found["Body"]) as body:
                write(body.iter_chunks(CHUNK), into, total, limit, tick, sha256)
        return True

    def delete(self, key: str) -> None:
        """Delete an object; none there is fine."""
        with _failures(Code.STORE, self.settings), _absent_is_none():
            self._client().delete_object(Bucket=self.settings.bucket, Key=check_key(key))

    def link(self, key: str, kind: str, expires_s: int) -> Link:
        """Return a signed URL for the endpoint that callers reach, or a public one."""
        check_key(key)
        if kind not in self.offers:
            raise TalkheadError(
                Code.UNSUPPORTED, f"the store makes no {kind} URLs", "set public_base"
            )
        if kind == "public":
            return Link(f"{str(self.settings.public_base).rstrip('/')}/{quote(key)}")
        if not 0 < expires_s <= LONGEST_S:
            raise TalkheadError(Code.INPUT, f"{expires_s} s: a link lives 1 s to 7 days")
        until = datetime.now(UTC) + timedelta(seconds=expires_s)
        signer = self._client(self.settings.public_endpoint or self.settings.endpoint)
        with _failures(Code.STORE, self.settings):
            url = signer.generate_presigned_url(
                "get_object",
                Params={"Bucket": self.settings.bucket, "Key": key},
                ExpiresIn=expires_s,
            )
        return Link(url, until)

    def _create(self, file: Path, key: str, extra: dict[str, Any]) -> bool:
        call = {"Bucket": self.settings.bucket, "Key": key, **extra}
        try:
            with file.open("rb") as body:
                self._client().put_object(Body=body, IfNoneMatch="*", **call)
        except ClientError as error:
            if _code(error) in THERE:
                return False
            if _code(error) not in UNCONDITIONAL:
                raise
            with file.open("rb") as body:  # the caller has looked: all that can be done here
                self._client().put_object(Body=body, **call)
        return True

    def _head(self, key: str) -> dict[str, Any] | None:
        with _absent_is_none():
            found: dict[str, Any] = self._client().head_object(Bucket=self.settings.bucket, Key=key)
            return found
        return None

    def _object(self, key: str) -> dict[str, Any] | None:
        with _absent_is_none():
            found: dict[str, Any] = self._client().get_object(Bucket=self.settings.bucket, Key=key)
            return found
        return None

    def _client(self, endpoint: str | None = None) -> Any:
        endpoint = endpoint or self.settings.endpoint
        with self._lock:
            if endpoint not in self._clients:
                self._clients[endpoint] = _connected(self.settings, endpoint)
            return self._clients[endpoint]


class Given(Strict):
    """A request's own bucket, as the platform's SDK names its parts."""

    accessId: str = Field(min_length=1)  # noqa: N815 (the platform's name)
    accessSecret: SecretStr = Field(min_length=1)  # noqa: N815
    bucketName: str = Field(min_length=1)  # noqa: N815
    endpointUrl: str = Field(min_length=1)  # noqa: N815


def from_request(s3config: object, private_hosts: Sequence[str] = ()) -> S3:
    """Return settings for a request's s3Config, or raise E_INPUT_VALIDATION.

    The endpoint must be https on the public network, or one of the operator's private hosts.
    """
    given = validate(Given, s3config, "s3Config")
    _vet_endpoint(given.endpointUrl, private_hosts)
    return S3(
        kind="s3",
        bucket=given.bucketName,
        endpoint=given.endpointUrl,
        access_key=SecretStr(given.accessId),
        secret_key=given.accessSecret,
    )


def _vet_endpoint(endpoint: str, private_hosts: Sequence[str]) -> None:
    try:
        url = parse_url(endpoint)
        private = [parse_entry(text) for text in private_hosts]
        addresses(url, private, Watch.starting(RESOLVE_S), RESOLVE_S)
    except TalkheadError as error:
        raise TalkheadError(
            Code.INPUT, error.message, error.hint, fields=["s3Config.endpointUrl"]
        ) from error
    except OSError as error:
        raise TalkheadError(
            Code.INPUT,
            "s3Config.endpointUrl: its host is not known",
            "correct the URL",
            fields=["s3Config.endpointUrl"],
        ) from error
    if url.scheme != "https":
        raise TalkheadError(
            Code.INPUT,
            f"{url.shown} is not https",
            "use https",
            fields=["s3Config.endpointUrl"],
        )


def _connected(settings: S3, endpoint: str | None) -> Any:
    """Return a client; the checksums that newer SDKs add are refused by R2 and older servers."""
    host = (urlsplit(endpoint).hostname or "") if endpoint else "amazonaws.com"
    aws = host.endswith(("amazonaws.com", "amazonaws.com.cn"))
    style: Literal["path", "virtual"] = "virtual" if aws else "path"
    config = Config(
        signature_version="s3v4",
        s3={"addressing_style": style if settings.addressing == "auto" else settings.addressing},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        retries={"mode": "standard", "max_attempts": 5},
        connect_timeout=5,
        read_timeout=60,
        max_pool_connections=10,
    )
    with _failures(Code.STORE, settings):
        try:
            return boto3.session.Session().client(
                "s3",
                endpoint_url=endpoint,
                region_name=settings.region,
                aws_access_key_id=_plain(settings.access_key),
                aws_secret_access_key=_plain(settings.secret_key),
                aws_session_token=_plain(settings.session_token),
                verify=str(settings.ca_bundle) if settings.ca_bundle else None,
                config=config,
            )
        except ValueError as error:  # boto3's word for a bad endpoint
            raise TalkheadError(
                Code.INPUT, "the store's endpoint is not a URL", "correct endpoint"
            ) from error


def _plain(secret: SecretStr | None) -> str | None:
    return secret.get_secret_value() if secret else None


@contextmanager
def _absent_is_none() -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        if _code(error) not in MISSING:
            raise


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


@contextmanager
def _failures(code: Code, settings: S3) -> Iterator[None]:
    """Turn what boto3 raises into our error; its texts hold URLs and stay out of the message."""
    try:
        yield
    except (BotoCoreError, ClientError, Boto3Error) as error:
        cause = error.__context__ if isinstance(error, Boto3Error) else error
        name = _code(cause) if isinstance(cause, ClientError) else type(cause).__name__
        raise TalkheadError(
            code,
            f"bucket {settings.bucket!r}: {name or 'the service refused'}",
            HINTS.get(name, "the store may be back later: send the job again"),
        ) from error
