"""What deploy/endpoint.toml may say, and the template and endpoint that RunPod is to have of it."""

import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from talkhead import settings
from talkhead.errors import Code, TalkheadError
from talkhead.redaction import secret_name
from talkhead.request import Strict
from talkhead.settings.groups import Worker

Json = dict[str, Any]
Mode = Literal["volume", "pull", "cached", "baked", "none"]

INIT_S = 420.0  # that the platform gives a worker by default: about seven minutes
IN_ORDER = 0.95  # of the execution timeout: then a job ends by itself, with an error of its own
_SECRET = re.compile(r"\{\{ RUNPOD_SECRET_\w+ \}\}")
_TAGGED = re.compile(r"[\w./:-]+(?::[\w.-]+|@sha256:[0-9a-f]{64})")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

Text = Annotated[str, Field(min_length=1, max_length=191)]
Env = dict[str, str]


class Endpoint(Strict):
    """What does not depend on the engine."""

    name: Text = Field(description="of endpoint and template")
    image: str = Field("", description="with its tag, as deploy/build.sh pushed it")
    engine: Text = Field(description="a table of [engines]")
    weights: Mode = Field(description="where the engine's weights come from")
    volume: str = Field("", description="id of the network volume, at /runpod-volume")
    model: str = Field("", description="ORG/NAME of the repo that RunPod caches")
    data_centers: tuple[Text, ...] = Field((), description="empty: any")
    registry_auth: str = Field("", description="id of RunPod's login for a private registry")
    workers_min: int = Field(0, ge=0)
    workers_max: int = Field(1, ge=1)
    idle_timeout_s: int = Field(5, ge=1, le=3600)
    queue_delay_s: int = Field(4, ge=1, description="that a job waits before a worker is added")
    flashboot: bool = True
    min_cuda: str = Field("13.0", pattern=r"^\d\d\.\d$", description="that the host's driver knows")


class Engine(Strict):
    """What one engine needs."""

    compute: Literal["GPU", "CPU"] = "GPU"
    gpus: tuple[Text, ...] = Field(
        (), description="RunPod's names of GPU types, the first one before others"
    )
    gpu_count: int = Field(1, ge=1)
    cpus: tuple[Text, ...] = Field((), description="RunPod's CPU flavours")
    vcpus: int = Field(4, ge=1)
    disk_gb: dict[Mode, Annotated[int, Field(ge=5)]] = Field(
        description="of the container, by mode"
    )
    execution_timeout_s: int = Field(ge=5, le=604_800, description="then the worker is killed")
    init_timeout_s: dict[Mode, Annotated[int, Field(ge=30)]] = Field(
        {}, description="until a worker asks for its first job; unset: RunPod's own seven minutes"
    )
    weights: Mode | None = Field(
        None, description="in place of the endpoint's, for what needs none"
    )
    pull: str = Field("", description="sets of weights that the mode pull brings")
    env: Env = Field({}, description="variables of the workers")

    @model_validator(mode="after")
    def _has_machines(self) -> Self:
        if not (self.gpus if self.compute == "GPU" else self.cpus):
            raise ValueError(f"compute is {self.compute}, but no {self.compute.lower()}s are named")
        return self


class File(Strict):
    """The whole file."""

    endpoint: Endpoint
    env: Env = Field({}, description="variables of the workers")
    weights: dict[Mode, Env] = Field({}, description="variables of each mode")
    engines: dict[str, Engine]


class Wanted(Strict):
    """What RunPod is to have: bodies of its REST API, and what only a person can do."""

    engine: str
    template: Json
    endpoint: Json = Field(description="without templateId")
    by_hand: tuple[str, ...]


def read(path: Path, *, engine: str | None = None, image: str | None = None) -> Wanted:
    """Return what the file asks for; engine and image come before the file's own.

    Raises E_INPUT_VALIDATION naming the field.
    """
    try:
        file = File.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise _wrong(f"cannot read {path}: {error.strerror}", "name the file") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise _wrong(f"{path} is not TOML: {error}", "correct it") from error
    except ValidationError as error:
        lines = [
            f"{'.'.join(map(str, e['loc']))}: {e['msg'].removeprefix('Value error, ')}"
            for e in error.errors(include_url=False, include_input=False)
        ]
        raise _wrong(f"{path}: {'; '.join(lines)}", "correct it (docs/operations.md)") from error
    more = {"engine": engine, "image": image}
    changed: Json = {name: value for name, value in more.items() if value is not None}
    named = changed.get("engine", file.endpoint.engine)
    if named not in file.engines:
        raise _wrong(
            f"endpoint.engine: there is no [engines.{named}]",
            f"one of {', '.join(sorted(file.engines))}",
        )
    if mode := file.engines[named].weights:
        changed["weights"] = mode
    return _wanted(file.model_copy(update={"endpoint": file.endpoint.model_copy(update=changed)}))


def _wanted(file: File) -> Wanted:
    end = file.endpoint
    own = file.engines[end.engine]
    _refuse_image(end.image)
    _refuse_places(end, own)
    env = _environment(file, own)
    return Wanted(
        engine=end.engine,
        template=_template(end, own, env),
        endpoint=_endpoint(end, own),
        by_hand=tuple(_by_hand(end)),
    )


def _refuse_image(image: str) -> None:
    if not image:
        raise _wrong(
            "endpoint.image: no image is named",
            "build one with deploy/build.sh, push it and name it here or with --image",
        )
    tagged = _TAGGED.fullmatch(image)
    if not tagged or image.endswith(":latest") or ":" not in image.rpartition("/")[2]:
        raise _wrong(
            f"endpoint.image: {image!r} names no fixed image",
            "give the tag that deploy/build.sh made, as 20261128-0b3e065; never latest",
        )


def _refuse_places(end: Endpoint, own: Engine) -> None:
    """Raise where the mode of weights lacks what it needs."""
    if end.weights not in own.disk_gb:
        raise _wrong(
            f"endpoint.weights: {end.engine} cannot be run with {end.weights!r}",
            f"its disk_gb has {', '.join(own.disk_gb)}",
        )
    if end.weights == "volume" and not end.volume:
        raise _wrong(
            "endpoint.volume: weights are on a network volume, and none is named",
            "make one in the console and give its id",
        )
    if end.weights == "cached" and not re.fullmatch(r"[\w.-]+/[\w.-]+", end.model):
        raise _wrong(
            "endpoint.model: weights are a cached model, and no ORG/NAME is named",
            "upload a bundle (docs/weights.md) and name its repo",
        )
    if end.weights == "pull" and not own.pull:
        raise _wrong(
            f"engines.{end.engine}.pull: no sets are named to pull at the start",
            "name them, or take another mode of weights",
        )
    if end.workers_min > end.workers_max:
        raise _wrong("endpoint.workers_min is more than workers_max", "lower it")


def _environment(file: File, own: Engine) -> Env:
    """Return the variables of a worker, in order of their names."""
    end = file.endpoint
    env = {
        "TALKHEAD_ENGINE": end.engine,
        "TALKHEAD_WORKER__DEADLINE_S": str(round(IN_ORDER * own.execution_timeout_s)),
        **file.env,
        **file.weights.get(end.weights, {}),
        **own.env,
    }
    init_s = own.init_timeout_s.get(end.weights)
    if init_s is not None:
        env["RUNPOD_INIT_TIMEOUT"] = str(init_s)
    if end.weights == "pull":
        env["TALKHEAD_WORKER__PULL"] = own.pull
        if _pull_s(env) >= (init_s or INIT_S):
            raise _wrong(
                f"engines.{end.engine}: pulling may take as long as a worker has to start",
                "set init_timeout_s.pull above TALKHEAD_WORKER__PULL_S",
            )
    _refuse_variables(env)
    return dict(sorted(env.items()))


def _pull_s(env: Env) -> float:
    said = env.get("TALKHEAD_WORKER__PULL_S")
    try:
        return Worker().pull_s if said is None else float(said)
    except ValueError as error:
        raise _wrong("TALKHEAD_WORKER__PULL_S is no number", "give seconds") from error


def _refuse_variables(env: Env) -> None:
    """Raise for what a worker would refuse, and for secrets in plain sight."""
    settings.refuse_unknown({name for name in env if name.startswith("TALKHEAD_")})
    for name, value in env.items():
        if not _NAME.fullmatch(name):
            raise _wrong(f"env: {name!r} is no name of a variable", "correct it")
        if (secret_name(name) or name in _WHOLE_STORES) and not _SECRET.fullmatch(value):
            raise _wrong(
                f"env: {name} looks like a secret, and its value stands in the file",
                "keep it as a secret of your RunPod account and write "
                f'{name} = "{{{{ RUNPOD_SECRET_name }}}}"',
            )
    if "TALKHEAD_STORE" not in env and not any(
        name.startswith(("TALKHEAD_STORE__", *_OLDER_STORES)) for name in env
    ):
        raise _wrong(
            "env: no store is set, so that no worker would start",
            "set TALKHEAD_STORE__KIND and what it needs (docs/stores.md)",
        )


_WHOLE_STORES = ("TALKHEAD_STORE", "TALKHEAD_STORES")  # JSON with keys inside
_OLDER_STORES = ("R2_", "MINIO_", "S3_", "BUCKET_", "SUPABASE_", "AWS_")


def _template(end: Endpoint, own: Engine, env: Env) -> Json:
    body: Json = {
        "name": end.name,
        "imageName": end.image,
        "category": "NVIDIA" if own.compute == "GPU" else "CPU",
        "isServerless": True,
        "isPublic": False,
        "containerDiskInGb": own.disk_gb[end.weights],
        "volumeInGb": 0,  # a serverless worker has no disk of its own beside the container's
        "ports": [],
        "env": env,
    }
    if end.registry_auth:
        body["containerRegistryAuthId"] = end.registry_auth
    return body


def _endpoint(end: Endpoint, own: Engine) -> Json:
    body: Json = {
        "name": end.name,
        "computeType": own.compute,
        "executionTimeoutMs": own.execution_timeout_s * 1000,
        "idleTimeout": end.idle_timeout_s,
        "scalerType": "QUEUE_DELAY",
        "scalerValue": end.queue_delay_s,
        "workersMin": end.workers_min,
        "workersMax": end.workers_max,
        "flashboot": end.flashboot,
    }
    if own.compute == "GPU":
        body |= {"gpuTypeIds": list(own.gpus), "gpuCount": own.gpu_count}
        body["minCudaVersion"] = end.min_cuda
    else:
        body |= {"cpuFlavorIds": list(own.cpus), "vcpuCount": own.vcpus}
    if end.data_centers:
        body["dataCenterIds"] = list(end.data_centers)
    if end.volume:
        body["networkVolumeId"] = end.volume
    return body


def _by_hand(end: Endpoint) -> list[str]:
    found = []
    if end.weights == "cached":
        found.append(
            f"set the endpoint's Model to {end.model} in the console: the REST API has no field "
            "for it"
        )
    return found


def _wrong(message: str, hint: str) -> TalkheadError:
    return TalkheadError(Code.INPUT, message, hint)
