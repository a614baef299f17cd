"""Groups of settings: fetching, the rendering process, the server, defaults of older payloads."""

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr

from talkhead.request import Strict


class Fetching(Strict):
    """What a reference in a request may reach, and how much of it."""

    http: bool = Field(False, description="allow http: URLs beside https:")
    private_hosts: tuple[str, ...] = Field(
        (), description="host names or addresses that may be private, such as minio.internal"
    )
    ca_bundle: Path | None = Field(None, description="PEM file, for hosts with their own CA")
    image_mb: float = Field(32, gt=0, description="largest picture")
    audio_mb: float = Field(200, gt=0, description="largest recording")
    video_mb: float = Field(2048, gt=0, description="largest video")
    deadline_s: float = Field(300, gt=0, description="for all files of a job together")
    connect_s: float = Field(5, gt=0, description="for one connection")
    read_s: float = Field(30, gt=0, description="of silence from a server")
    attempts: int = Field(3, ge=1, le=10, description="after refused connections, 429 and 5xx")
    parallel: int = Field(4, ge=1, le=32, description="downloads at a time")


class Worker(Strict):
    """How the process that renders is kept."""

    cancel_s: float = Field(15, gt=0, description="for a cancelled job to stop, then SIGTERM")
    term_s: float = Field(5, gt=0, description="after SIGTERM, then SIGKILL")
    start_s: float = Field(120, gt=0, description="for a new child to be ready")
    warm_up: str | None = Field(
        None,
        pattern=r"^[1-9]\d{1,3}x[1-9]\d{1,3}$",
        description="size, such as 640x640: the default engine loads and compiles before the first "
        "job, by a window of that size",
    )
    warm_up_s: float = Field(900, gt=0, description="for that, beside start_s")
    check_s: float = Field(30, gt=0, description="for each fitness check")
    deadline_s: float | None = Field(
        None,
        gt=0,
        le=7 * 86_400,
        description="of jobs that bring none: on RunPod a little less than the endpoint's "
        "execution timeout, which workers are not told",
    )
    generator: bool = Field(
        False,
        description="on RunPod: a generator handler; its output is a list that ends in the answer",
    )
    plans_only: bool = Field(
        False, description="another process renders: plans count all of the GPU's memory as free"
    )
    pull: tuple[str, ...] = Field((), description="sets of weights to pull before work begins")
    pull_s: float = Field(
        360, gt=0, description="for that; less than RUNPOD_INIT_TIMEOUT of the endpoint"
    )

    @property
    def ready_s(self) -> float:
        """Return the seconds that a new child may take to be ready."""
        return self.start_s + (self.warm_up_s if self.warm_up else 0)


class Server(Strict):
    """The self-hosted server: `talkhead serve`."""

    host: str = Field("127.0.0.1", description="where it listens; other than loopback needs token")
    port: int = Field(8000, ge=0, le=65535, description="0 takes a free one")
    token: SecretStr | None = Field(
        None, min_length=16, description="what callers and browsers have to show"
    )
    folder: Path | None = Field(
        None, description="queue and uploads; unset: `server`, beside the job folders"
    )
    queue: SecretStr | None = Field(
        None, description="postgresql://… in place of the file in that folder"
    )
    devices: tuple[str, ...] = Field(
        (), description="one rendering process for each, as cuda:0,cuda:1; unset: every GPU, or one"
    )
    waiting: int = Field(1000, ge=1, description="jobs that may wait; more are refused")
    retries: int = Field(2, ge=0, le=10, description="after errors that may not come again")
    retry_s: float = Field(5, gt=0, description="before the first of them; doubled each time")
    kills: int = Field(
        5, ge=1, description="of the server while a job ran, after which that job is given up"
    )
    rate: float = Field(
        200,
        ge=0,
        description="requests a second of one address, saved up for ten; 0: no limit",
    )
    upload_gb: float = Field(20, gt=0, description="all uploads together; the oldest go first")
    keep_days: float = Field(30, ge=0, description="that ended jobs stay in the list, and uploads")
    origins: tuple[str, ...] = Field(
        (), description="web pages that may call, as https://a.example"
    )


class Older(Strict):
    """What older InfiniteTalk payloads that leave it out mean, in place of what they meant."""

    size: Literal["480p", "720p"] | None = Field(None, description="unset: 480p")
    steps: int | None = Field(None, ge=1, le=1000, description="sampling steps; unset: 8")
    teacache: bool | None = Field(None, description="skip steps that change little")
    apg: bool | None = Field(None, description="adaptive projected guidance")


class Endpoint(Strict):
    """Where `talkhead submit` and its like send work, unless the command line says so."""

    url: str | None = Field(None, description="https://api.runpod.ai/v2/ID, or a server's address")
    key: SecretStr | None = Field(None, description="what is shown there, and nowhere else")
    patience_s: float = Field(
        600, ge=0, description="for an endpoint that is away while a job is watched"
    )
