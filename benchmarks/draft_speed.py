"""Work per second of video on the draft engine, everything included: python to finished MP4.

Claims on 2 quiet cores: 512x512 at most 0.35 s of wall time per second of video; 1280x720 at most
0.6 for a face up to 40 % of the height and 0.9 for a close-up.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import av
from PIL import Image

from _machine import heading

TALKHEAD = str(Path(sys.executable).with_name("talkhead"))
ASSETS = Path(__file__).parent.parent / "src" / "talkhead" / "assets"
MEDIA = Path(__file__).parent.parent / "tests" / "media"
REPEATS = 4  # of the bundled speech, so that starting up does not dominate
CASES = (
    ("512x512", ASSETS / "astronaut.png", "512x512", "crop", 0.35),
    ("512x512, close", MEDIA / "portraits" / "woman_frontal_closed.png", "512x512", "crop", 0.35),
    ("1280x720, face 40 %", None, "1280x720", "pad", 0.60),
    (
        "1280x720, close-up",
        MEDIA / "portraits" / "closeup_redhair_closed.png",
        "1280x720",
        "pad",
        0.9,
    ),
    ("720x1280", ASSETS / "astronaut.png", "720x1280", "pad", 0.9),
)


def long_speech(folder: Path) -> Path:
    """Write the bundled speech several times over."""
    out = folder / "speech.wav"
    with av.open(str(out), "w") as target:
        stream = target.add_stream("pcm_s16le", rate=16_000, layout="mono")
        for _ in range(REPEATS):
            with av.open(str(ASSETS / "librivox.flac")) as source:
                for frame in source.decode(audio=0):
                    frame.pts = None
                    target.mux(stream.encode(frame))
        target.mux(stream.encode(None))
    return out


def face_40_percent(folder: Path) -> Path:
    """Write the astronaut so that her face fills 40 % of a 16:9 picture's height."""
    astronaut = Image.open(ASSETS / "astronaut.png").convert("RGB")
    face_height = 130  # pixels, chin to hairline
    side = round(face_height / 0.40)
    crop = astronaut.crop((224 - side // 2, 0, 224 + side // 2, side))
    canvas = Image.new("RGB", (round(side * 16 / 9), side), (200, 200, 205))
    canvas.paste(crop, ((canvas.width - crop.width) // 2, 0))
    path = folder / "face40.png"
    canvas.resize((1280, 720), Image.Resampling.LANCZOS).save(path)
    return path


def main() -> None:
    heading("Draft engine: wall seconds of work per second of video, all included")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        speech = long_speech(folder)
        print(f"{'case':<22}{'video s':>8}{'wall s':>8}{'s per s':>9}{'bar':>6}   stages")
        for title, portrait, size, fit, bar in CASES:
            out = folder / "out.mp4"
            command = [TALKHEAD, "talk", str(portrait or face_40_percent(folder)), str(speech)]
            command += ["--size", size, "--fit", fit, "--seed", "1", "-o", str(out), "--force"]
            began = time.perf_counter()
            run = subprocess.run([*command, "--json"], capture_output=True, check=True)
            wall = time.perf_counter() - began
            result = json.loads(run.stdout)
            seconds = result["outputs"][0]["facts"]["seconds"]
            stages = ", ".join(f"{k} {v:.1f}" for k, v in result["seconds"].items() if v >= 0.05)
            rate = wall / seconds
            mark = "" if rate <= bar else "  over the bar"
            print(f"{title:<22}{seconds:8.1f}{wall:8.1f}{rate:9.3f}{bar:6.2f}   {stages}{mark}")


if __name__ == "__main__":
    main()
