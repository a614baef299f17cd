"""Where results may go: the settings of each kind of store."""

import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Discriminator, Field, SecretStr, Tag

from talkhead.request import Strict


class Local(Strict):
    """A folder on this machine, or a mounted volume."""

    kind: Literal["local"] = "local"
    root: Path = Field(Path("out"), description="the folder of results")
    base: str | None = Field(None, description="URL before the key, where something serves them")
    prefix: str = Field("", description="what the keys of results begin with")


class S3(Strict):
    """A bucket that speaks S3: AWS, Cloudflare R2, MinIO, Supabase's S3 endpoint."""

    kind: Literal["s3"]
    bucket: Annotated[str, Field(min_length=1)] = Field(description="its name")
    prefix: str = Field("", description="what the keys of results begin with")
    endpoint: str | None = Field(None, description="URL; unset: AWS itself")
    region: str = Field("auto", description="AWS wants a real one")
    access_key: SecretStr | None = Field(None, description="unset: boto3 looks for its own")
    secret_key: SecretStr | None = Field(None, description="goes with access_key")
    session_token: SecretStr | None = Field(None, description="of temporary keys")
    addressing: Literal["auto", "path", "virtual"] = Field(
        "auto", description="auto: virtual for AWS, path elsewhere"
    )
    public_endpoint: str | None = Field(
        None, description="the endpoint that callers reach; signed URLs are made for it"
    )
    public_base: str | None = Field(None, description="URL before the key of public objects")
    ca_bundle: Path | None = Field(None, description="PEM file, for a server with its own CA")


class Supabase(Strict):
    """A bucket behind Supabase Storage's REST interface."""

    kind: Literal["supabase"]
    url: str = Field(description="https://PROJECT.supabase.co")
    key: SecretStr = Field(description="the service key")
    bucket: Annotated[str, Field(min_length=1)] = Field(description="its name")
    public: bool = Field(False, description="the bucket is public: offer public URLs too")
    prefix: str = Field("", description="what the keys of results begin with")


class Inline(Strict):
    """No storage: small files travel in the answer as data: URIs. A copy stays in a folder."""

    kind: Literal["inline"]
    root: Path = Field(
        default_factory=lambda: cache_folder() / "inline", description="the folder of the copies"
    )
    limit_mb: float = Field(7, gt=0, le=14, description="largest file it takes")
    prefix: str = Field("", description="what the keys of results begin with")


def _kind(value: Any) -> str | None:
    found = value.get("kind", "local") if isinstance(value, dict) else getattr(value, "kind", None)
    return None if found is None else str(found)


StoreSettings = Annotated[
    Annotated[Local, Tag("local")]
    | Annotated[S3, Tag("s3")]
    | Annotated[Supabase, Tag("supabase")]
    | Annotated[Inline, Tag("inline")],
    Discriminator(_kind),
]

STORES: dict[str, type[BaseModel]] = {
    "local": Local,
    "s3": S3,
    "supabase": Supabase,
    "inline": Inline,
}


def cache_folder() -> Path:
    """Return where what can be made or fetched again is kept."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "talkhead"
