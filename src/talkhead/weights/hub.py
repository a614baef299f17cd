"""What huggingface_hub knows of a repo: commit, sizes, hashes, addresses. It moves no file.

Its own downloads (2.4) keep no partial file for the next process, know no deadline and log signed
addresses, so the bytes come through `transfer`.
"""

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from talkhead import __version__
from talkhead.errors import Code, TalkheadError
from talkhead.registry import install
from talkhead.weights import File, Repo
from talkhead.weights.stopping import Until

ATTEMPTS = 5
FIRST_PAUSE_S = 1.0
ASK_S = 15.0  # for one answer
RETRIED = (408, 429, 500, 502, 503, 504)


@dataclass(frozen=True, slots=True)
class Remote:
    """One file as its server describes it."""

    path: str  # in the repo
    url: str
    bytes: int | None = None
    sha256: str = ""
    git: str = ""  # git's own hash, of files that are not kept as large files


@dataclass(frozen=True, slots=True)
class Listing:
    """A repo at one commit."""

    commit: str
    files: Mapping[str, Remote]


def listing(repo: Repo, until: Until) -> Listing:
    """Ask the hub for a repo's files, or raise E_DOWNLOAD_FAILED, E_PIPELINE_LOAD or E_TIMEOUT."""
    try:
        from huggingface_hub import HfApi, constants, hf_hub_url  # noqa: PLC0415 (heavy, optional)
    except ImportError as error:
        raise TalkheadError(
            Code.UNSUPPORTED, "huggingface_hub is not installed", install("weights")
        ) from error
    api = HfApi(endpoint=constants.ENDPOINT, library_name="talkhead", library_version=__version__)
    for attempt in range(1, ATTEMPTS + 1):
        with _named(repo, constants.ENDPOINT, last=attempt == ATTEMPTS):
            info = api.model_info(
                repo.name, revision=repo.revision, files_metadata=True, timeout=ASK_S
            )
            break
        until.sleep(random.uniform(0.5, 1) * FIRST_PAUSE_S * 2 ** (attempt - 1))  # noqa: S311 (jitter)
    commit = info.sha or repo.revision
    found = {}
    for entry in info.siblings or []:
        url = hf_hub_url(repo.name, entry.rfilename, revision=commit, endpoint=constants.ENDPOINT)
        sha256 = entry.lfs.sha256 if entry.lfs else ""
        git = "" if entry.lfs else entry.blob_id or ""
        found[entry.rfilename] = Remote(entry.rfilename, url, entry.size, sha256, git)
    return Listing(commit, found)


def plain(file: File) -> Listing:
    """Return the listing of a file on a plain https server, by what the manifest says."""
    url = f"{file.repo.url.rstrip('/')}/{quote(file.path)}"
    return Listing("", {file.path: Remote(file.path, url, file.bytes, file.sha256)})


def headers() -> dict[str, str]:
    """Return the headers for a file of the hub: who asks, and the token where there is one.

    A redirect to another host loses the token: httpx sees to that.
    """
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined] # noqa: PLC0415

    made = build_hf_headers(library_name="talkhead", library_version=__version__)
    return {name: str(value) for name, value in made.items()}


@contextmanager
def _named(repo: Repo, endpoint: str, *, last: bool) -> Iterator[None]:
    """Turn the library's errors into ours; swallow those that a later attempt may heal."""
    from huggingface_hub import errors  # noqa: PLC0415

    network = errors.HTTPError  # type: ignore[attr-defined] # httpx's or httpx2's, by its version
    try:
        yield
    except errors.OfflineModeIsEnabled as error:
        raise TalkheadError(
            Code.WEIGHTS,
            f"{repo.name} is not here, and the hub is switched off",
            "unset HF_HUB_OFFLINE",
        ) from error
    except network as error:
        status = getattr(getattr(error, "response", None), "status_code", None)
        if status is not None and status not in RETRIED:
            raise refused(repo, status) from error
        if last:
            raise unreachable(urlsplit(endpoint).netloc, status) from error
    except OSError as error:
        if last:
            raise unreachable(urlsplit(endpoint).netloc, None) from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise TalkheadError(
            Code.WEIGHTS,
            f"{urlsplit(endpoint).netloc} does not answer as a hub does ({type(error).__name__})",
            "check HF_ENDPOINT, and whether a proxy or a sign-in page stands in between",
        ) from error


def refused(repo: Repo, status: int) -> TalkheadError:
    """Return the error for an answer that asking again does not change."""
    if status in (401, 403):
        return TalkheadError(
            Code.WEIGHTS,
            f"{repo.name} is not open to us (status {status})",
            f"accept its terms at {repo.page}, then set HF_TOKEN to a token that may read it",
        )
    return TalkheadError(
        Code.WEIGHTS,
        f"{repo.name} at revision {repo.revision} answered with status {status}",
        "check HF_ENDPOINT; the repo may have moved since this version of talkhead",
    )


def unreachable(host: str, status: int | None) -> TalkheadError:
    """Return the error for a server that did not answer well, however often it was asked."""
    what = f"answered with status {status}" if status else "could not be reached"
    return TalkheadError(
        Code.DOWNLOAD,
        f"{host} {what} ({ATTEMPTS} attempts)",
        "check the network, or set HF_ENDPOINT to a mirror; what is there already is kept",
    )
