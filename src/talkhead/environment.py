"""Settings from the names that older systems use: docs/stores.md, docs/weights.md."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from talkhead.errors import Code, TalkheadError

Env = Mapping[str, str]
Names = tuple[str, ...]  # of one setting; the first that is set counts

# Hosts of services that put the bucket before their own name.
_WITH_BUCKET = re.compile(
    r"(?P<bucket>.+)\.(?P<host>"
    r"s3[.-](?:[a-z0-9-]+\.)?(?:amazonaws\.com(?:\.cn)?|backblazeb2\.com|wasabisys\.com)"
    r"|[a-z0-9]+\.digitaloceanspaces\.com"
    r"|[0-9a-f]{32}\.(?:[a-z]+\.)?r2\.cloudflarestorage\.com)"
)
_S3_NEEDS = ("S3_ENDPOINT", "S3_ACCESS_KEY", "S3_SECRET_KEY")


@dataclass(frozen=True, slots=True)
class Family:
    """The names of one system."""

    name: str
    needs: dict[str, Names]  # by our name
    finish: Callable[[dict[str, str]], dict[str, Any]]
    may: dict[str, Names] = field(default_factory=dict)
    begun: Names = ()  # names that show that this family is meant; none: all of `needs`
    signs: Names = ()  # names that show that this family is about
    kind: str = "s3"


def store_of(env: Env, kind: str | None = None) -> dict[str, Any] | None:
    """Return the settings of the one store, of that kind, that older names describe, or None.

    Raises E_INPUT_VALIDATION where two families are complete, or none is and one was begun.
    """
    env = {name: value.strip() for name, value in env.items() if value.strip()}
    families = [family for family in (_aws(env), *FAMILIES) if kind in (None, family.kind)]
    whole = [family for family in families if not _lacking(family, env)]
    if len(whole) > 1:
        raise _two(whole, env)
    if whole:
        chosen = whole[0]
        names = {**chosen.needs, **chosen.may}
        found = {ours: value for ours in names if (value := _first(names[ours], env))}
        return chosen.finish(found)
    for family in families:
        if _begun(family, env):
            lacks = [" or ".join(family.needs[ours]) for ours in _lacking(family, env)]
            raise TalkheadError(
                Code.INPUT,
                f"the environment describes a store by {family.name}, without {', '.join(lacks)}",
                "set what lacks, or choose with TALKHEAD_STORE__KIND",
            )
    return None


def _two(whole: list[Family], env: Env) -> TalkheadError:
    """Return the error that says how to leave one store of several."""
    kinds = sorted({family.kind for family in whole})
    choice = f"set TALKHEAD_STORE__KIND to {' or '.join(kinds)}, or " if len(kinds) > 1 else ""
    named = {
        family.name: [name for names in family.needs.values() for name in names if name in env]
        for family in whole
    }
    sets = [f"{name} ({', '.join(held)})" for name, held in named.items()]
    return TalkheadError(
        Code.INPUT,
        f"the environment describes {len(whole)} stores: "
        f"{', '.join(family.name for family in whole)}",
        f"{choice}keep one and unset the others: {'; '.join(sets)}",
    )


def _first(names: Names, env: Env) -> str | None:
    return next((env[name] for name in names if name in env), None)


def _lacking(family: Family, env: Env) -> list[str]:
    return [ours for ours, names in family.needs.items() if _first(names, env) is None]


def _begun(family: Family, env: Env) -> bool:
    names = family.begun or tuple(name for held in family.needs.values() for name in held)
    return any(name in env for name in names)


def _aws(env: Env) -> Family:
    """Return AWS's family; S3_BUCKET counts for it where nothing else of S3_* is there."""
    if any(name in env for name in _S3_NEEDS) or not any(name in env for name in AWS.signs):
        return AWS
    bucket = (*AWS.needs["bucket"], "S3_BUCKET")
    return replace(AWS, needs={**AWS.needs, "bucket": bucket}, begun=bucket)


def _s3(found: dict[str, str]) -> dict[str, Any]:
    if "endpoint" in found:
        _refuse_bare(found["endpoint"], "S3_ENDPOINT or AWS_ENDPOINT_URL")
    return {"kind": "s3", **found}


def _r2(found: dict[str, str]) -> dict[str, Any]:
    where = found.pop("endpoint")
    if "://" not in where:
        host = where if "." in where else f"{where}.r2.cloudflarestorage.com"
        where = f"https://{host}"
    # the dashboard shows the endpoint with the bucket behind it
    where = where.rstrip("/").removesuffix(f"/{found['bucket']}")
    return {"kind": "s3", "region": "auto", "endpoint": where, **found}


def _minio(found: dict[str, str]) -> dict[str, Any]:
    where, ssl = found.pop("endpoint"), found.pop("ssl", "false").lower()
    if ssl not in {"true", "false", "1", "0", "yes", "no"}:
        raise TalkheadError(Code.INPUT, "MINIO_USE_SSL is not true or false", "set true or false")
    if "://" not in where:
        where = f"{'https' if ssl in {'true', '1', 'yes'} else 'http'}://{where}"
    return {"kind": "s3", "region": "us-east-1", **found, "endpoint": where}


def _bucket(found: dict[str, str]) -> dict[str, Any]:
    """Read the bucket out of the endpoint where it is a part of its host or its path."""
    _refuse_bare(found["endpoint"], "BUCKET_ENDPOINT_URL")
    url = urlsplit(found["endpoint"])
    host, path, told = url.netloc, url.path.strip("/"), found.pop("bucket", "")
    named = ""
    if match := _WITH_BUCKET.fullmatch(host):
        named, host = match["bucket"], match["host"]
    elif told and host.startswith(f"{told}."):
        named, host = told, host.removeprefix(f"{told}.")
    elif path and told in {"", path.rpartition("/")[2]}:
        path, _, named = path.rpartition("/")
    if not (named or told):
        raise TalkheadError(
            Code.INPUT, "BUCKET_ENDPOINT_URL names no bucket", "set BUCKET_NAME as well"
        )
    if named and told and named != told:
        raise TalkheadError(
            Code.INPUT,
            f"BUCKET_NAME is {told!r} and BUCKET_ENDPOINT_URL names {named!r}",
            "unset BUCKET_NAME, or take the bucket out of the URL",
        )
    endpoint = f"{url.scheme}://{host}/{path}".rstrip("/")
    return {"kind": "s3", **found, "endpoint": endpoint, "bucket": named or told}


def _refuse_bare(endpoint: str, names: str) -> None:
    url = urlsplit(endpoint)
    if url.scheme not in {"http", "https"} or not url.hostname:
        raise TalkheadError(Code.INPUT, f"{names} is not a URL", "write https://host")


def _supabase(found: dict[str, str]) -> dict[str, Any]:
    return {"kind": "supabase", **found}


AWS = Family(
    "AWS_*",
    {"bucket": ("AWS_BUCKET", "AWS_S3_BUCKET"), "region": ("AWS_REGION", "AWS_DEFAULT_REGION")},
    _s3,
    {
        "access_key": ("AWS_ACCESS_KEY_ID",),
        "secret_key": ("AWS_SECRET_ACCESS_KEY",),
        "session_token": ("AWS_SESSION_TOKEN",),
        "endpoint": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"),
    },
    begun=("AWS_BUCKET", "AWS_S3_BUCKET"),  # keys and regions serve many other ends
    signs=("AWS_ACCESS_KEY_ID", "AWS_REGION", "AWS_DEFAULT_REGION"),
)
FAMILIES = (
    Family(
        "R2_*",
        {
            "endpoint": ("R2_ENDPOINT_URL", "R2_ACCOUNT_ID"),
            "access_key": ("R2_ACCESS_KEY_ID",),
            "secret_key": ("R2_SECRET_ACCESS_KEY",),
            "bucket": ("R2_BUCKET_NAME", "R2_BUCKET"),
        },
        _r2,
        {"public_base": ("R2_PUBLIC_URL", "R2_PUBLIC_BASE")},
    ),
    Family(
        "MINIO_*",
        {
            "endpoint": ("MINIO_ENDPOINT",),
            "access_key": ("MINIO_ACCESS_KEY",),
            "secret_key": ("MINIO_SECRET_KEY",),
            "bucket": ("MINIO_BUCKET",),
        },
        _minio,
        {"ssl": ("MINIO_USE_SSL",), "region": ("MINIO_REGION",)},
    ),
    Family(
        "S3_*",
        {
            "endpoint": ("S3_ENDPOINT",),
            "access_key": ("S3_ACCESS_KEY",),
            "secret_key": ("S3_SECRET_KEY",),
            "bucket": ("S3_BUCKET",),
        },
        _s3,
        {"region": ("S3_REGION",), "public_base": ("S3_PUBLIC_BASE",)},
    ),
    Family(
        "BUCKET_*",
        {
            "endpoint": ("BUCKET_ENDPOINT_URL",),
            "access_key": ("BUCKET_ACCESS_KEY_ID",),
            "secret_key": ("BUCKET_SECRET_ACCESS_KEY",),
        },
        _bucket,
        {"bucket": ("BUCKET_NAME",)},
    ),
    Family(
        "SUPABASE_*",
        {
            "url": ("SUPABASE_URL",),
            "key": ("SUPABASE_SERVICE_KEY", "SUPABASE_SERVICE_ROLE_KEY", "SUPABASE_KEY"),
            "bucket": ("SUPABASE_BUCKET",),
        },
        _supabase,
        kind="supabase",
    ),
)

# Entries of the weights manifest that lie in a folder of an older name.
_OFFICIAL = ("wan-i2v-config", "wan-i2v", "wan-vae", "wan-t5", "wan-tokenizer", "wan-clip")
_SPEECH = ("wav2vec2-zh", "wav2vec2-zh-config")
_QUANTISED = (
    "infinitetalk-single-fp8",
    "infinitetalk-single-fp8-map",
    "infinitetalk-t5-fp8",
    "infinitetalk-t5-fp8-map",
)
_PEOPLE = ("single", "multi")


def named_of(env: Env) -> dict[str, str]:
    """Return places of weights by the id of their entry, from CKPT_DIR and the like."""
    env = {name: value.strip() for name, value in env.items() if value.strip()}
    found: dict[str, str] = {}
    if place := env.get("CKPT_DIR"):
        found |= dict.fromkeys(_OFFICIAL, place)
    if place := env.get("WAV2VEC_DIR"):
        found |= dict.fromkeys(_SPEECH, place)
    if place := env.get("INFINITETALK_DIR"):
        found |= _adapters(PurePosixPath(place))
    if place := env.get("QUANT_DIR"):
        found |= _quantised(PurePosixPath(place))
    return found


def _adapters(place: PurePosixPath) -> dict[str, str]:
    """Return where the adapters are: it names one of them, its folder, or the folder of both."""
    file = place.suffix == ".safetensors"
    folder = place.parent if file else place
    if folder.name in _PEOPLE:
        this, both = folder.name, folder.parent
    else:
        this = "multi" if file and "multi" in place.name.lower() else "single"
        both = folder
    places = {who: both / who for who in _PEOPLE}
    places[this] = place
    return {f"infinitetalk-{who}-adapter": str(places[who]) for who in _PEOPLE}


def _quantised(place: PurePosixPath) -> dict[str, str]:
    """Return where the quantised files are: it names their folder or the model among them."""
    if place.suffix != ".safetensors":
        return dict.fromkeys(_QUANTISED, str(place))
    found = dict.fromkeys(_QUANTISED, str(place.parent))
    if "fp8" in place.name and "t5" not in place.name:
        found["infinitetalk-single-fp8"] = str(place)
    return found


_SIZES = {"infinitetalk-480": "480p", "infinitetalk-720": "720p"}
_FLAGS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def older_of(env: Env) -> dict[str, Any]:
    """Return what payloads that leave it out mean, from DEFAULT_SIZE and the like.

    Raises E_INPUT_VALIDATION naming the variable.
    """
    found: dict[str, Any] = {}
    if size := env.get("DEFAULT_SIZE", "").strip():
        found["size"] = _one_of("DEFAULT_SIZE", size, _SIZES)
    if steps := env.get("DEFAULT_SAMPLE_STEPS", "").strip():
        if not steps.isdecimal() or not 1 <= int(steps) <= 1000:
            raise _wrong("DEFAULT_SAMPLE_STEPS", "a whole number from 1 to 1000")
        found["steps"] = int(steps)
    for name, ours in (("ENABLE_TECACHE", "teacache"), ("ENABLE_APG", "apg")):
        if said := env.get(name, "").strip():
            found[ours] = _one_of(name, said.lower(), _FLAGS)
    return found


def _one_of(name: str, value: str, known: Mapping[str, Any]) -> Any:
    if value not in known:
        raise _wrong(name, f"one of {', '.join(known)}")
    return known[value]


def _wrong(name: str, wanted: str) -> TalkheadError:
    return TalkheadError(
        Code.INPUT, f"{name} is not {wanted}", "correct or unset the environment variable"
    )
