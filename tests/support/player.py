"""A player for streams: hls.js in Debian's Chromium."""

import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Any

VERSION = "1.7.4"
START = """
(url) => {
  const video = document.createElement('video');
  document.body.replaceChildren(video);
  const hls = new Hls();
  const seen = {errors: [], waits: []};
  hls.on(Hls.Events.ERROR, (_, data) => seen.errors.push(`${data.details} ${data.fatal}`));
  video.addEventListener('waiting', () => seen.waits.push(video.currentTime));
  hls.loadSource(url);
  hls.attachMedia(video);
  video.play();
  Object.assign(window, {video, seen, hls});
}
"""
STATE = """
() => {
  const spans = (ranges) => [...Array(ranges.length).keys()].map(
    (n) => [ranges.start(n), ranges.end(n)]);
  const quality = video.getVideoPlaybackQuality();
  return {
    at: video.currentTime, ended: video.ended, duration: video.duration,
    buffered: spans(video.buffered), played: spans(video.played),
    frames: quality.totalVideoFrames, size: [video.videoWidth, video.videoHeight], ...seen,
  };
}
"""


def library(folder: Path) -> Path | None:
    """Return hls.js, fetched with npm into a folder, or None where that cannot be done."""
    npm = shutil.which("npm")
    if npm is None:
        return None
    command = [npm, "pack", "--silent", f"hls.js@{VERSION}"]
    run = subprocess.run(command, cwd=folder, capture_output=True, check=False, timeout=120)
    if run.returncode:
        return None
    with tarfile.open(folder / f"hls.js-{VERSION}.tgz") as packed:
        packed.extract("package/dist/hls.js", folder, filter="data")
    return folder / "package/dist/hls.js"


def start(page: Any, script: Path, url: str) -> None:
    """Play a stream on a page of the origin that it comes from."""
    page.add_script_tag(path=str(script))
    page.evaluate(START, url)


def state(page: Any) -> dict[str, Any]:
    """Return what the player is at."""
    return dict(page.evaluate(STATE))
