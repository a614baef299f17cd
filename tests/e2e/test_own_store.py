"""A caller's own bucket, from the request to the signed link, through the real worker."""

import ssl
from pathlib import Path

import httpx

from support.fake_s3 import FakeS3
from support.plane import platform
from support.serving import Ground, card, working
from support.web import certified


def test_results_go_to_the_callers_bucket_and_nowhere_else(tmp_path: Path) -> None:
    tls, authority = certified(tmp_path, "127.0.0.1")
    with FakeS3(tls=tls) as s3, platform() as plane:
        host = httpx.URL(s3.url)
        ground = Ground(
            tmp_path / "ground",
            TALKHEAD_REQUEST_STORE="true",
            TALKHEAD_FETCH__PRIVATE_HOSTS=f'["{host.host}:{host.port}"]',
            AWS_CA_BUNDLE=str(authority),
        )
        config = {
            "endpointUrl": s3.url,
            "bucketName": s3.bucket,
            "accessId": s3.access_key,
            "accessSecret": s3.secret_key,
        }
        with working(ground, plane, "own") as worker:
            answer = plane.ask(card(), s3Config=config)
            again = plane.ask({**card(), "idempotency_key": "mine"}, s3Config=config)
        assert answer["status"] == again["status"] == "COMPLETED", answer
        video = answer["output"]["result"]["outputs"][0]
        link = httpx.get(video["url"], verify=ssl.create_default_context(cafile=str(authority)))
        assert link.status_code == 200
        assert link.content == s3.objects[video["key"]]
        assert "mine/result.json" in s3.objects
        assert list(ground.store.rglob("*.mp4")) == []
        log = worker.log.read_text()
        assert s3.secret_key not in log
        assert "X-Amz-Signature" not in log
