"""What `import talkhead` promises: exactly these names, each with a home."""

import subprocess
import sys

import talkhead


def test_public_names() -> None:
    assert dir(talkhead) == sorted(
        [
            "AsyncClient",
            "Client",
            "Code",
            "Progress",
            "Request",
            "Result",
            "Runtime",
            "Settings",
            "TalkheadError",
            "__version__",
            "parse",
            "run",
        ]
    )
    for name in talkhead.__all__:
        assert getattr(talkhead, name) is not None


def test_unknown_names_fail_as_usual() -> None:
    assert not hasattr(talkhead, "nonsense")


def test_module_runs() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "talkhead", "--version"], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == f"talkhead {talkhead.__version__}"
