"""Hostile references in real jobs: refused with the right code, nothing secret said, no connect.

Every look-up and connect of the process is recorded; names are answered from a table here.
"""

import base64
import os
from collections.abc import Iterator

import pytest

from support.harness import PORTRAITS, SPEECH
from support.web import Network, Web, moved, recorded, reply
from talkhead import job
from talkhead.errors import TalkheadError
from talkhead.result import Progress
from talkhead.runtime import Runtime
from talkhead.settings import Settings
from talkhead.validation import parse

INPUT, DOWNLOAD = "E_INPUT_VALIDATION", "E_DOWNLOAD_FAILED"
SOUND = "data:audio/wav;base64," + base64.b64encode(b"RIFF").decode()

# Names that lead inside, as the owner of any domain can make them.
NAMES = {
    "localhost": ["127.0.0.1"],
    "localtest.test": ["::1"],
    "metadata.google.internal": ["169.254.169.254"],
    "instance-data": ["169.254.169.254"],
    "private.test": ["10.1.2.3"],
    "mixed.test": ["8.8.8.8", "192.168.1.1"],
    "mixed6.test": ["2606:4700::1111", "fd00::1"],
    "mapped.test": ["::ffff:10.0.0.1"],
    "compatible.test": ["::127.0.0.1"],
    "6to4.test": ["2002:7f00:1::"],
    "teredo.test": ["2001:0:4136:e378:8000:63bf:3fff:fdd2"],
    "nat64.test": ["64:ff9b::7f00:1"],
    "nat64local.test": ["64:ff9b:1::a00:1"],
    "sitelocal.test": ["fec0::1"],
    "linklocal.test": ["fe80::1%eth0"],
    "relay.test": ["192.88.99.1"],
    "protocol.test": ["192.0.0.8"],
    "carrier.test": ["100.64.0.1"],
    "benchmark.test": ["198.18.0.1"],
    "documentation.test": ["203.0.113.5"],
    "multicast.test": ["224.0.0.1"],
    "broadcast.test": ["255.255.255.255"],
    "zero.test": ["0.0.0.0"],
    "azure.test": ["168.63.129.16"],
    "xn--n3h.test": ["127.0.0.1"],
}

# Of any scheme that follows; `secret` must never be repeated.
AUTHORITIES = [
    *NAMES,
    "☃.test",
    "LOCALHOST.",
    "127.0.0.1",
    "127.0.0.1:6379",
    "127.255.255.254",
    "0.0.0.0",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.0.1",
    "169.254.169.254",
    "100.100.100.200",
    "192.0.0.192",
    "168.63.129.16",
    "192.88.99.1",
    "224.0.0.1",
    "255.255.255.255",
    "2130706433",
    "017700000001",
    "0x7f000001",
    "0x7f.1",
    "0177.0.0.1",
    "127.1",
    "127.0.1",
    "127.0.0.0x1",
    "0",
    "1.2.3.4.5",
    "１２７.0.0.1",
    "①②⑦.⓪.⓪.①",
    "127。0。0。1",
    "[::1]",
    "[::]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::127.0.0.1]",
    "[64:ff9b::7f00:1]",
    "[64:ff9b:1::7f00:1]",
    "[2002:7f00:1::]",
    "[2001::1]",
    "[fec0::1]",
    "[fe80::1]",
    "[fe80::1%25eth0]",
    "[fd00:ec2::254]",
    "[ff02::1]",
    "[2001:db8::1]",
    "[::1",
    "::1",
    "user:secret@127.0.0.1",
    "8.8.8.8@127.0.0.1",
    "8.8.8.8:443@127.0.0.1",
    "8.8.8.8\\@127.0.0.1",
    "8.8.8.8%00.test",
    "%31%32%37.0.0.1",
    "127.0.0.1%2f.test",
    "8.8.8.8\t",
    "8.8.8.8\r\nHost: secret",
    "8.8.8.8 127.0.0.1",
    "\u202e127.0.0.1",
    "\u200b127.0.0.1",
    "8.8.8.8:0",
    "8.8.8.8:65536",
    "8.8.8.8:6379\r\nSET secret",
    "8.8.8.8:-1",
    "..",
    "",
    "a" * 64,
]
URLS = [f"https://{authority}/secret?token=secret" for authority in AUTHORITIES]
REFERENCES = [
    "http://8.8.8.8/secret",
    "https:/8.8.8.8/secret",
    "https:8.8.8.8/secret",
    "https:\\\\8.8.8.8\\secret",
    "https:///secret",
    "//8.8.8.8/secret",
    " https://8.8.8.8/secret",
    "ftp://8.8.8.8/secret",
    "gopher://127.0.0.1:6379/_secret",
    "file:///etc/passwd",
    "file://8.8.8.8/etc/passwd",
    "/etc/passwd",
    "../../etc/passwd",
    "C:\\secret",
    "\\\\8.8.8.8\\secret",
    "concat:/etc/passwd|secret",
    "pipe:0",
    "javascript:secret",
    "dict://127.0.0.1:11211/secret",
    "unix:///var/run/docker.sock",
    "s3://bucket/secret",
    "data:,secret",
    "data:image/png,secret",
    "data:image/png;base64",
    "data:image/png;base64,",
    "data:image/png;base64,****secret",
    "data:image/png;base64,secre=t==",
    "data:image/png;base64," + "A" * 1_500_000,
    "volume:../outside",
    "volume:/etc/passwd",
    "volume:link",
    "volume:folder/../../outside",
    "volume:pipe",
    "volume:device",
    "volume:loop",
    "volume:folder",
    "volume:.",
    "volume:",
    "volume:a\0b",
    "volume:..\\outside",
    "volume:C:\\secret",
    "volume:%2e%2e/outside",
    "library:../outside",
    "library:/etc/passwd",
    "library:link",
    "store:../outside",
    "store:in/../../outside",
    "store:/etc/passwd",
    "store:in//a",
    "store:in\\..\\outside",
    "store:private/secret.png",
    "store:in/.jobs/k/segment-00000.mp4",
    "store:in/\r\nsecret",
    "store:in/link",
    "store:",
]


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Iterator[Network]:
    with recorded(monkeypatch) as network:
        network.names.update({name: [found] for name, found in NAMES.items()})
        yield network


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Runtime:
    """Return a server's runtime, every folder of which holds something to break out by."""
    base = tmp_path_factory.mktemp("operator")
    (base / "outside").write_bytes(b"x")
    for root in (base / "volume", base / "library", base / "store" / "in"):
        (root / "folder").mkdir(parents=True)
        (root / "link").symlink_to(base / "outside")
        (root / "loop").symlink_to(root / "loop")
        (root / "device").symlink_to("/dev/zero")
        os.mkfifo(root / "pipe")
    settings = Settings.model_validate(
        {
            "store": {"kind": "local", "root": base / "store"},
            "library": base / "library",
            "volumes": [base / "volume"],
            "readable": ["in/"],
            "jobs": base / "jobs",
            "fetch": {"image_mb": 1, "private_hosts": ["front.test"]},
        }
    )
    return Runtime(settings)


def outcome(ref: str, runtime: Runtime) -> str:
    """Return the code of the job's error, having checked what is said and what is left."""
    request = parse(
        {"action": "talk", "engine": "draft", "portrait": ref, "speakers": [{"audio": SOUND}]}
    )
    with pytest.raises(TalkheadError) as caught:
        job.run(request, runtime, lambda progress: None)
    error = caught.value
    assert error.fields == ("portrait",)
    assert error.stage == "fetch"
    assert error.hint
    assert error.message.isprintable()
    assert len(error.message) < 300
    if "://" in ref or ref.startswith("data:"):
        assert "secret" not in f"{error.message} {error.hint}"
    jobs = runtime.settings.jobs
    assert not jobs.exists() or list(jobs.iterdir()) == []
    return error.code


def test_the_corpus_is_large() -> None:
    assert len({*URLS, *REFERENCES}) >= 60


@pytest.mark.parametrize("ref", [*URLS, *REFERENCES], ids=lambda ref: ascii(ref[:40]))
def test_refused_before_any_connect(ref: str, runtime: Runtime, network: Network) -> None:
    assert outcome(ref, runtime) == INPUT
    assert network.connected == []


@pytest.fixture
def front(network: Network, runtime: Runtime) -> Iterator[Web]:
    """Yield a server that the operator allows, and that misuses the trust."""
    web = Web({})
    network.names["front.test"] = [["127.0.0.1"]]
    try:
        yield web
    finally:
        web.close()


@pytest.fixture
def trusting(runtime: Runtime) -> Runtime:
    """Return a runtime that fetches http: too, so that the front needs no certificate."""
    fetch = runtime.settings.fetch.model_copy(update={"http": True})
    return Runtime(runtime.settings.model_copy(update={"fetch": fetch}))


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_refused_behind_a_redirect(
    scheme: str, trusting: Runtime, network: Network, front: Web
) -> None:
    for authority in AUTHORITIES:
        if not authority or "\n" in authority or not authority.isascii():
            continue  # one is a path of the front itself; the others no header can hold
        network.connected.clear()
        front.answers["/a"] = [moved(f"{scheme}://{authority}/secret")]
        code = outcome(front.url("/a?token=secret", "front.test"), trusting)
        assert code == INPUT, authority
        assert network.connected == ["127.0.0.1"], authority
    assert set(front.asked) == {"/a?token=secret"}


@pytest.mark.parametrize(
    "location",
    [
        "file:///etc/passwd",
        "data:image/png;base64,AAAA",
        "store:in/a",
        "volume:a",
        "ftp://8.8.8.8/",
    ],
)
def test_a_redirect_leads_to_https_only(
    location: str, trusting: Runtime, network: Network, front: Web
) -> None:
    front.answers["/a"] = [moved(location)]
    assert outcome(front.url("/a", "front.test"), trusting) == INPUT
    assert network.connected == ["127.0.0.1"]


def test_a_name_that_changes_its_mind(trusting: Runtime, network: Network) -> None:
    """DNS rebinding: the second answer would be this machine. It is judged, or never asked for."""
    network.names["rebind.test"] = [["8.8.8.8"], ["127.0.0.1"]]
    network.ways["8.8.8.8"] = "127.9.9.9"  # nobody there: every attempt resolves again
    assert outcome("http://rebind.test:9/secret", trusting) == INPUT
    assert network.connected == ["8.8.8.8"]


def test_good_references_work(trusting: Runtime, network: Network, front: Web) -> None:
    """The same runtime plans a job from a listed host, the library and the store."""
    front.answers["/a.png"] = [reply((PORTRAITS / "woman_frontal_closed.png").read_bytes())]
    speech = trusting.settings.store.root / "in" / "speech.wav"
    speech.write_bytes((SPEECH / "librivox_0890.flac").read_bytes())
    request = parse(
        {
            "action": "talk",
            "portrait": front.url("/a.png?token=x", "front.test"),
            "speakers": [{"audio": "store:in/speech.wav"}],
            "dry_run": True,
        }
    )
    stages: list[Progress] = []
    plan = job.run(request, trusting, stages.append).plan
    assert plan is not None
    assert plan.speech_seconds > 1
    assert stages[0].stage == "fetch"
    assert network.connected == ["127.0.0.1"]
    assert list(trusting.settings.jobs.iterdir()) == []


def test_a_name_that_nobody_has_may_work_later(runtime: Runtime, network: Network) -> None:
    assert outcome("https://nowhere.test/secret", runtime) == DOWNLOAD
    assert network.connected == []
