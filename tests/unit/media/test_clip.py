"""Pictures of a video at given times: the right ones, upright, in true colours, within limits."""

import random
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc

from support.media import levels, moving, tone, write_clip, write_sound, write_video
from talkhead.errors import Code, TalkheadError
from talkhead.media import clip, segments
from talkhead.media.clip import first_picture, probe_clip, read_moments, write_pictures
from talkhead.media.fit import fit


def shown(path: Path, moments: list[float], **more) -> list[int]:
    """Return the grey level at each moment, as the multiple of 4 that it was made of."""
    return [4 * round(p.mean() / 4) for p in read_moments(path, moments, **more)]


def test_a_constant_rate_is_followed_by_time(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", levels(60), fps=30)
    moments = [k / 25 for k in range(60)]
    want = [4 + 4 * min(59, round(moment * 30)) for moment in moments]
    assert shown(path, moments) == want
    facts = probe_clip(path)
    assert (facts.fps, facts.seconds, facts.width, facts.height) == (Fraction(30), 2.0, 80, 64)


def test_a_varying_rate_is_followed_by_time(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", levels(6), times=[0, 0.1, 0.5, 0.6, 2, 2.2])
    moments = [0, 0.04, 0.06, 0.29, 0.31, 0.31, 1.29, 1.31, 2.11, 9]
    assert shown(path, moments) == [4, 4, 8, 8, 12, 12, 16, 20, 24, 24]


def test_time_is_counted_from_the_start_of_the_picture(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mkv", levels(30), times=[7 + k / 10 for k in range(30)])
    assert shown(path, [0, 1, 2]) == [4, 44, 84]


@pytest.mark.parametrize(
    ("suffix", "codec"), [("mov", "libx264"), ("mkv", "libx264"), ("avi", "mjpeg"), ("webm", "vp8")]
)
def test_containers_agree(tmp_path: Path, suffix: str, codec: str) -> None:
    codec = "libvpx" if codec == "vp8" else codec
    path = write_clip(tmp_path / f"a.{suffix}", levels(40), fps=30, codec=codec)
    found = [p.mean() for p in read_moments(path, [0, 0.1, 0.5, 1, 3])]
    assert found == pytest.approx([4, 16, 64, 124, 160], abs=3)


def test_pictures_are_upright_and_their_pixels_square(tmp_path: Path) -> None:
    picture = np.zeros((1, 64, 96, 3), np.uint8)
    picture[:, :32, :48] = 255
    for turned, corner in ((90, (-1, 0)), (180, (-1, -1)), (270, (0, -1))):
        found = first_picture(write_clip(tmp_path / "t.mp4", picture, turned=turned))
        assert found.shape[:2] == ((64, 96) if turned == 180 else (96, 64))
        assert found[corner][0] > 250
        assert found.mean() < 70
    for pixel, size in ((Fraction(2), (64, 192)), (Fraction(1, 2), (128, 96)), (9, (64, 96))):
        path = write_clip(tmp_path / "p.mp4", picture, pixel=Fraction(pixel))
        assert first_picture(path).shape[:2] == size


def test_tagged_colours_come_back(tmp_path: Path) -> None:
    colour = (200, 60, 30)
    picture = np.full((1, 640, 640, 3), colour, np.uint8)
    segments.encode([picture], tmp_path / "a.mp4", Fraction(25), 640, 640)
    found = first_picture(tmp_path / "a.mp4")[300, 300].astype(int)
    assert np.abs(found - colour).max() <= 2


def test_a_phones_high_dynamic_range_becomes_ordinary(tmp_path: Path) -> None:
    """Of HLG 75% is the white of an ordinary picture, by ITU-R BT.2408; more is clipped."""
    with av.open(str(tmp_path / "a.mkv"), "w") as target:
        video = target.add_stream("ffv1", rate=25)
        video.width = video.height = 64
        video.pix_fmt = "yuv420p10le"
        context = video.codec_context
        context.colorspace, context.color_range = Colorspace.BT2020, ColorRange.MPEG
        context.color_trc = ColorTrc.ARIB_STD_B67
        context.color_primaries = ColorPrimaries.BT2020
        for index, signal in enumerate((0.0, 0.4, 0.75, 1.0)):
            frame = av.VideoFrame(64, 64, "yuv420p10le")
            for plane, value in zip(frame.planes, (64 + 876 * signal, 512, 512), strict=True):
                plane.update(np.full(plane.buffer_size // 2, round(value), np.uint16).tobytes())
            frame.pts = index
            target.mux(video.encode(frame))
        target.mux(video.encode(None))
    dark, mid, white, more = (
        p.mean() for p in read_moments(tmp_path / "a.mkv", [0, 0.04, 0.08, 1])
    )
    assert dark < 3
    assert 100 < mid < 150
    assert white > 250
    assert more > 250


@pytest.mark.parametrize(("matrix", "refused"), [(1, False), (3, False), (8, True), (14, True)])
def test_other_colour_systems_are_read_or_refused(
    tmp_path: Path, matrix: int, refused: bool
) -> None:
    """YCgCo and ICtCp cannot be converted; a matrix that is reserved says nothing."""
    with av.open(str(tmp_path / "a.mkv"), "w") as target:
        video = target.add_stream("ffv1", rate=25)
        video.width, video.height, video.pix_fmt = 64, 64, "yuv420p"
        video.codec_context.colorspace = matrix
        frame = av.VideoFrame(64, 64, "yuv420p")
        for plane in frame.planes:
            plane.update(bytes([128]) * plane.buffer_size)
        frame.pts, frame.colorspace = 0, matrix
        target.mux(video.encode(frame))
        target.mux(video.encode(None))
    if not refused:
        assert abs(first_picture(tmp_path / "a.mkv").mean() - 130) < 2
        return
    with pytest.raises(TalkheadError, match="colours that are not read") as caught:
        first_picture(tmp_path / "a.mkv", "video")
    assert (caught.value.code, caught.value.fields) == (Code.INPUT, ("video",))


def packets_of(pictures: np.ndarray) -> list[bytes]:
    """Return each picture as a JPEG."""
    context = av.CodecContext.create("mjpeg", "w")
    context.height, context.width = pictures.shape[1:3]
    context.pix_fmt, context.time_base = "yuvj420p", Fraction(1, 25)
    frames = [av.VideoFrame.from_ndarray(picture, "rgb24") for picture in pictures]
    for number, frame in enumerate(frames):
        frame.pts, frame.time_base = number, Fraction(1, 25)
    return [bytes(packet) for frame in frames for packet in context.encode(frame)]


def muxed(path: Path, packets: list[bytes]) -> Path:
    """Write packets as a video whose header promises 80 x 64."""
    with av.open(str(path), "w") as target:
        video = target.add_stream("mjpeg", rate=25)
        video.width, video.height, video.pix_fmt = 80, 64, "yuvj420p"
        for number, data in enumerate(packets):
            packet = av.Packet(data)
            packet.stream, packet.time_base = video, Fraction(1, 25)
            packet.pts = packet.dts = number
            target.mux(packet)
    return path


def test_a_size_that_changes_midway_is_refused(tmp_path: Path) -> None:
    packets = packets_of(levels(2)) + packets_of(levels(2, 96, 80))
    with pytest.raises(TalkheadError, match="changes its size from 80x64 to 80x96") as caught:
        shown(muxed(tmp_path / "a.avi", packets), [0, 0.04, 0.08], field="video")
    assert (caught.value.code, caught.value.fields) == (Code.INPUT, ("video",))


def test_pictures_past_the_limit_are_not_even_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clip, "MAX_PIXELS", 100 * 100)
    path = muxed(tmp_path / "a.avi", packets_of(levels(2)) + packets_of(levels(1, 640, 640)))
    told: list[str] = []
    assert shown(path, [0, 0.04, 0.5], warnings=told) == [4, 8, 8]
    assert "1 of its frames were left out" in told[0]
    wide = write_clip(tmp_path / "w.mp4", levels(1), pixel=Fraction(4))
    with pytest.raises(TalkheadError, match="a picture of 320x64") as caught:
        first_picture(wide, "source")
    assert (caught.value.code, caught.value.fields) == (Code.MEDIA, ("source",))


def test_a_video_that_is_cut_off_is_told_and_goes_on(tmp_path: Path) -> None:
    data = write_clip(tmp_path / "a.mkv", levels(60), fps=30).read_bytes()
    path = tmp_path / "cut.mkv"
    path.write_bytes(data[: len(data) // 2])
    told: list[str] = []
    found = shown(path, [0, 0.1, 1.9], warnings=told)
    assert found[:2] == [4, 16]
    assert "is cut off: its picture ends after" in told[0]


def test_noise_in_the_middle_is_left_out(tmp_path: Path) -> None:
    packets = packets_of(levels(6))
    packets[3] = b"\xff\xd8" + bytes(50)
    told: list[str] = []
    found = shown(muxed(tmp_path / "a.avi", packets), [k / 25 for k in range(6)], warnings=told)
    assert (found[0], found[-1]) == (4, 24)
    assert told == ["a.avi is damaged: 1 of its frames were left out"]


def only_sound(folder: Path) -> Path:
    return write_sound(folder / "a.webm", tone(1, 48_000), 48_000, "libopus")


def no_frame(folder: Path) -> Path:
    return muxed(folder / "a.avi", [bytes(50), bytes(60)])


def tiny(folder: Path) -> Path:
    return write_clip(folder / "a.mp4", levels(2, 16, 16))


@pytest.mark.parametrize(
    ("make", "message"),
    [(only_sound, "no picture"), (no_frame, "none of its 2 frames"), (tiny, "16x16, too small")],
)
def test_what_shows_nothing_is_refused(
    tmp_path: Path, make: Callable[[Path], Path], message: str
) -> None:
    with pytest.raises(TalkheadError, match=message) as caught:
        first_picture(make(tmp_path), "video")
    assert (caught.value.code, caught.value.fields) == (Code.INPUT, ("video",))


def test_ticks_come_for_every_frame_and_can_stop_it(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", levels(50))
    ticks: list[tuple[int, int]] = []
    assert len(list(read_moments(path, (0.0, 1.9), "", lambda *at: ticks.append(at)))) == 2
    assert len(ticks) > 45
    assert ticks[-1] == (2, 2)

    def stop(done: int, _total: int) -> None:
        if done:
            raise TalkheadError(Code.CANCELLED, "stop")

    with pytest.raises(TalkheadError, match="stop"):
        list(read_moments(path, (0.0, 1.9), "", stop))


def test_pictures_lie_in_a_file_and_are_fitted_alike(tmp_path: Path) -> None:
    bars = np.zeros((3, 64, 160, 3), np.uint8)
    bars[:, :, 100:] = levels(3, 64, 60) * 10
    path = write_clip(tmp_path / "a.mp4", bars, fps=10)
    fitted = fit(first_picture(path), 64, 64, "crop")
    out = tmp_path / ".pictures.npy"
    found = write_pictures(read_moments(path, (0.0, 0.1, 0.1, 5.0)), 4, fitted, out)
    assert isinstance(found, np.memmap)
    assert (found.shape, found.flags.writeable) == ((4, 64, 64, 3), False)
    assert np.array_equal(found[0], fitted.picture)
    assert np.array_equal(found[1], found[2])
    assert [round(p[:, -6:].mean() / 10) for p in found] == [4, 8, 8, 12]
    assert found[:, :, :40].max() < 20


def harmed(data: bytes, dice: random.Random) -> bytes:
    """Return a copy with bytes changed, numbers made extreme, or parts gone."""
    out = bytearray(data)
    for _ in range(dice.choice((1, 3, 10, 50))):
        at = dice.randrange(len(out) - 4)
        way = dice.randrange(3)
        if way == 0:
            out[at] = dice.randrange(256)
        elif way == 1:
            out[at : at + 4] = dice.choice((b"\xff" * 4, bytes(4), b"\x7f\xff\xff\xff"))
        else:
            del out[at : at + dice.randrange(1, 40)]
    return bytes(out)


@pytest.mark.parametrize(
    ("suffix", "codec"),
    [("mp4", "libx264"), ("mkv", "libx264"), ("avi", "mjpeg"), ("webm", "libvpx")],
)
def test_damage_anywhere_is_an_error_by_name_or_shown_as_it_is(
    tmp_path: Path, suffix: str, codec: str
) -> None:
    data = write_clip(tmp_path / f"a.{suffix}", moving(12), fps=10, codec=codec).read_bytes()
    dice = random.Random(suffix)
    path = tmp_path / f"harmed.{suffix}"
    for _ in range(150):
        path.write_bytes(harmed(data, dice))
        try:
            probe_clip(path, "video")
            assert len(list(read_moments(path, (0.0, 0.3, 0.6, 5.0), "video"))) == 4
        except TalkheadError as error:
            assert error.code in (Code.INPUT, Code.MEDIA)
            assert error.fields == ("video",)
