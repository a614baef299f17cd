"""A bucket behind the S3 protocol: AWS, Cloudflare R2, MinIO, Supabase's S3 endpoint."""

import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote, urlsplit

import boto3  # type: ignore[import-untyped]
from boto3.exceptions import Boto3Error  # type: ignore[import-untyped]
from boto3.s3.transfer import TransferConfig  # type: ignore[import-untyped]
from botocore.config import Config  # type: ignore[import-untyped]
from botocore.exceptions import BotoCoreError, ClientError  # type: ignore[import-untyped]
from pydantic import Field, SecretStr

from talkhead.errors import Code, TalkheadError
from talkhead.media.address import parse_entry, parse_url, printable
from talkhead.media.pinned import Watch, addresses
from talkhead.request import Strict
from talkhead.settings import S3
from talkhead.stores import MAX_READ, Link, Slot, Tick
from talkhead.stores.arriving import refuse_large, write
from talkhead.stores.keys import check_key
from talkhead.stores.mimes import kept
from talkhead.validation import validate

PART = 16 * 2**20  # bytes; larger files go in parts of this size
CHUNK = 2**20
LARGEST_PUT = 5 * 10**9  # bytes, by S3's rule
LONGEST_S = 7 * 86_400  # signatures of version 4 live no longer
RESOLVE_S = 5.0
DIGEST = "talkhead-sha256"  # in an object's metadata
MISSING = {"404", "NoSuchKey"}
THERE = {"412", "PreconditionFailed"}
RACING = {"409", "ConditionalRequestConflict"}  # another write is under way, or a deletion
BUCKET = r"^[A-Za-z0-9][A-Za-z0-9._-]{1,62}$"  # no ARN, which may lead to another host
UNCONDITIONAL = {"501", "NotImplemented"}  # of a service that knows no If-None-Match
REGION = re.compile(
    r"s3[.-](?P<region>[a-z0-9-]+)\.(amazonaws\.com(\.cn)?|backblazeb2\.com|wasabisys\.com)"
)
RIGHTS = "allow the key to get, put, list and delete in this bucket"
UNREACHED = "endpoint cannot be reached: check it and the network"
KEYS = "set access_key and secret_key, or what boto3 looks for"
HINTS = {
    "301": "correct region and endpoint",  # an answer to HEAD has a status in place of a name
    "400": "correct region, and see whether the keys are still good",
    "403": RIGHTS,
    "413": "raise the limit of sizes of the bucket or of the proxy before it",
    "AccessDenied": RIGHTS,
    "AuthorizationHeaderMalformed": "correct region",
    "EntityTooLarge": "raise the bucket's limit of sizes, or make a smaller file",
    "ExpiredToken": "session_token has expired",
    "InvalidAccessKeyId": "access_key is not known there",
    "InvalidBucketName": "correct bucket",
    "InvalidKey": "the service takes ASCII keys only: choose a plain prefix and name",
    "InvalidToken": "correct session_token",
    "NoSuchBucket": "bucket does not exist: create it or correct its name",
    "PermanentRedirect": "correct region and endpoint",
    "RequestTimeTooSkewed": "set this machine's clock",
    "SignatureDoesNotMatch": "secret_key does not fit access_key, or a proxy changes requests",
    "ConnectTimeoutError": UNREACHED,
    "EndpointConnectionError": UNREACHED,
    "NoCredentialsError": KEYS,
    "PartialCredentialsError": KEYS,
    "SSLError": "the server's certificate is not trusted: set ca_bundle",
}


class S3Store:
    """Implements Store on a bucket. Clients are made when first needed, and shared by threads."""

    def __init__(self, settings: S3) -> None:
        self.settings = settings
        self.offers = frozenset({"signed", *(("public",) if settings.public_base else ())})
        self.serves = True
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

        `create` is exact where the service obeys If-None-Match, as AWS does. Where it ignores it,
        as Supabase does, an object that is there stays, but of two creators at the same moment
        the last one wins and both may be told True.
        """
        extra = {**self._headers(check_key(key), mime), "Metadata": {DIGEST: sha256}}
        with _failures(Code.STORE, self.settings):
            if create and (self._head(key) is not None or not self._create(file, key, extra)):
                return False
            if not create:
                self._upload(file, key, extra)
            head = self._head(key)
        held = None if head is None else head["Metadata"].get(DIGEST, sha256)
        if create and held not in {None, sha256}:
            return False  # another creator, where the service could not tell
        if head is None or held != sha256 or head["ContentLength"] != file.stat().st_size:
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

    def size(self, key: str) -> int | None:
        """Return how many bytes an object has, or None where there is none."""
        with _failures(Code.STORE, self.settings):
            head = self._head(check_key(key))
        return None if head is None else int(head["ContentLength"])

    def get(self, key: str, into: Path, limit: int, tick: Tick) -> bool:
        """Download an object; its digest is checked where this package has put it there."""
        with _failures(Code.DOWNLOAD, self.settings):
            found = self._object(check_key(key))
            if found is None:
                return False
            total, sha256 = found["ContentLength"], found["Metadata"].get(DIGEST)
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
                Code.UNSUPPORTED, f"the store makes no {kind} URLs", "set the store's public_base"
            )
        if kind == "public":
            return Link(f"{str(self.settings.public_base).rstrip('/')}/{quote(key)}")
        if not 0 < expires_s <= LONGEST_S:
            raise TalkheadError(
                Code.INPUT,
                f"a signed URL of S3 cannot live {expires_s} s",
                f"ask for 1 to {LONGEST_S} s, which is 7 days",
                fields=["output.expires_s"],
            )
        return Link(*self._signed("get_object", expires_s, {"Key": key}))

    def slot(self, key: str, size: int, expires_s: int) -> Slot:
        """Return a signed URL for a PUT of exactly `size` bytes: their number is signed too."""
        if size > LARGEST_PUT:
            raise TalkheadError(
                Code.INPUT,
                f"{size / 1e9:.1f} GB do not go into a bucket by one PUT",
                f"at most {LARGEST_PUT / 1e9:.0f} GB",
            )
        mime = "application/octet-stream"  # what it is, its bytes say
        params = {"Key": check_key(key), "ContentLength": size, "ContentType": mime}
        url, until = self._signed("put_object", expires_s, params)
        return Slot(url, {"Content-Type": mime}, until)

    def _signed(self, call: str, expires_s: int, params: dict[str, Any]) -> tuple[str, datetime]:
        # signatures count from a whole second
        until = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=expires_s)
        with _failures(Code.STORE, self.settings):
            signer = self._client(self.settings.public_endpoint or self.settings.endpoint)
            url: str = signer.generate_presigned_url(
                call, Params={"Bucket": self.settings.bucket, **params}, ExpiresIn=expires_s
            )
        return url, until

    def links(self, keys: Sequence[str], kind: str, expires_s: int) -> list[Link]:
        """Return a URL for each key."""
        return [self.link(key, kind, expires_s) for key in keys]

    def _headers(self, key: str, mime: str) -> dict[str, str]:
        shared = "public" if self.settings.public_base else "private"
        return {
            "ContentType": mime,
            "CacheControl": f"{shared}, {kept(mime)}",
            "ContentDisposition": f"inline; filename*=UTF-8''{quote(key.rpartition('/')[2])}",
        }

    def _upload(self, file: Path, key: str, extra: dict[str, Any]) -> None:
        config = TransferConfig(
            multipart_threshold=PART, multipart_chunksize=PART, max_concurrency=4
        )
        self._client().upload_file(
            str(file), self.settings.bucket, key, ExtraArgs=extra, Config=config
        )

    def _create(self, file: Path, key: str, extra: dict[str, Any]) -> bool:
        call = {"Bucket": self.settings.bucket, "Key": key, **extra}
        try:
            with file.open("rb") as body:
                self._client().put_object(Body=body, IfNoneMatch="*", **call)
        except ClientError as error:
            if _code(error) in THERE:
                return False
            if _code(error) in RACING and self._head(key) is not None:
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
    bucketName: str = Field(pattern=BUCKET)  # noqa: N815
    endpointUrl: str = Field(min_length=1)  # noqa: N815


def from_request(s3config: object, private_hosts: Sequence[str] = ()) -> S3:
    """Return settings for a request's s3Config, or raise E_INPUT_VALIDATION.

    The endpoint must be https, and public or one of the operator's private hosts. A name that
    leads elsewhere later on gains nothing: its server has to show a certificate for that name
    before it hears a request.
    """
    given = validate(Given, s3config, "s3Config")
    try:
        _vet_endpoint(given.endpointUrl, private_hosts)
    except TalkheadError as error:
        name = "s3Config.endpointUrl"
        raise TalkheadError(
            Code.INPUT, f"{name}: {error.message}", error.hint, fields=[name]
        ) from error
    return S3(
        kind="s3",
        bucket=given.bucketName,
        endpoint=given.endpointUrl,
        access_key=SecretStr(given.accessId),
        secret_key=given.accessSecret,
    )


def _vet_endpoint(endpoint: str, private_hosts: Sequence[str]) -> None:
    url = parse_url(endpoint)
    if url.scheme != "https":
        raise TalkheadError(Code.INPUT, f"{url.shown} is not https", "use https")
    if "?" in endpoint or "#" in endpoint:
        raise TalkheadError(Code.INPUT, f"{url.shown} has a query", "leave it out")
    try:
        private = [parse_entry(text) for text in private_hosts]
        addresses(url, private, Watch.starting(RESOLVE_S), RESOLVE_S)
    except OSError as error:
        raise TalkheadError(
            Code.INPUT, f"{url.shown} was not found by its name", "check the host's name"
        ) from error


def _connected(settings: S3, endpoint: str | None) -> Any:
    """Return a client; the checksums that newer SDKs add are refused by R2 and older servers."""
    config = Config(
        signature_version="s3v4",
        s3={"addressing_style": _style(settings, endpoint)},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        retries={"mode": "standard", "max_attempts": 5},
        connect_timeout=5,
        read_timeout=60,
        max_pool_connections=10,
    )
    session = boto3.session.Session()  # the default one is not safe to share
    try:
        return session.client(
            "s3",
            endpoint_url=endpoint,
            region_name=_region(settings, endpoint, session.region_name),
            aws_access_key_id=_plain(settings.access_key),
            aws_secret_access_key=_plain(settings.secret_key),
            aws_session_token=_plain(settings.session_token),
            verify=str(settings.ca_bundle) if settings.ca_bundle else None,
            config=config,
        )
    except ValueError as error:  # boto3's word for a bad endpoint
        raise TalkheadError(
            Code.INPUT, "the store's endpoint is not a URL", "write endpoint as https://host"
        ) from error


def _style(settings: S3, endpoint: str | None) -> str:
    if settings.addressing != "auto":
        return settings.addressing
    host = (urlsplit(endpoint).hostname or "") if endpoint else ".amazonaws.com"
    return "virtual" if host.endswith((".amazonaws.com", ".amazonaws.com.cn")) else "path"


def _region(settings: S3, endpoint: str | None, found: str | None) -> str:
    """Return the region to sign for. Many hosts name it; AWS's own may be the machine's."""
    if settings.region != "auto":
        return settings.region
    if endpoint:
        named = REGION.fullmatch(urlsplit(endpoint).hostname or "")
        return named["region"] if named else "auto"
    if not found:
        raise TalkheadError(
            Code.INPUT, "the store has no region", "set region: AWS wants the bucket's own"
        )
    return found


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
            f"bucket {settings.bucket!r}: {printable(name) or 'the service refused'}",
            HINTS.get(name, "the store may be back later: send the job again"),
        ) from error
