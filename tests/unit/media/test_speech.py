import wave
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from support.media import moving, tone, write_sound, write_video
from talkhead.errors import Code, TalkheadError
from talkhead.media.sound import downmix
from talkhead.media.speech import Part, Speech, arrange, decode_speech, probe_audio

RATE = 16_000
SECONDS = 2.345


def _decode(path: Path, seconds: float, part: Part | None = None) -> Speech:
    part = part or Part(0, seconds)
    return decode_speech(path, path.with_name("speech.npy"), RATE, part, seconds)


def _float_wav(path: Path, samples: NDArray[np.float32]) -> Path:
    return write_sound(path, samples, 44_100, "pcm_f32le", container="wav")


@pytest.mark.parametrize(
    ("codec", "container", "rate", "channels"),
    [
        ("pcm_s16le", "wav", 16_000, 1),
        ("pcm_u8", "wav", 8_000, 1),
        ("pcm_s24le", "wav", 192_000, 2),
        ("pcm_s32le", "wav", 44_100, 2),
        ("pcm_f32le", "wav", 44_100, 2),
        ("pcm_f64le", "wav", 48_000, 1),
        ("pcm_s16le", "wav", 48_000, 6),
        ("flac", "flac", 96_000, 2),
        ("libmp3lame", "mp3", 44_100, 2),
        ("libmp3lame", "mp3", 8_000, 1),
        ("libopus", "ogg", 48_000, 2),
        ("vorbis", "ogg", 44_100, 2),
        ("aac", "ipod", 44_100, 2),
        ("aac", "ipod", 48_000, 6),
        ("aac", "ipod", 48_000, 8),
        ("flac", "flac", 48_000, 8),
        ("aac", "adts", 44_100, 2),
        ("aac", "matroska", 44_100, 2),
        ("libopus", "webm", 48_000, 1),
        ("pcm_s16le", "avi", 44_100, 2),
    ],
)
def test_any_codec_rate_and_channels(
    tmp_path: Path, codec: str, container: str, rate: int, channels: int
) -> None:
    """The decoded tone lies on the source's, sample by sample, at the same loudness."""
    source = tone(SECONDS, rate, channels)
    if channels > 2:
        source[3] = 0.9  # the low-frequency channel is no speech
    path = write_sound(tmp_path / "a.bin", source, rate, codec, container=container)
    facts = probe_audio(path)
    assert facts.seconds == pytest.approx(SECONDS, abs=0.03)
    assert (facts.rate, facts.channels) == (rate, channels)
    speech = _decode(path, SECONDS)
    assert speech.samples.shape == (round(SECONDS * RATE),)
    assert speech.samples.dtype == np.float32
    assert not speech.warnings
    # ADTS cannot say that its first frame is priming; everything else starts on time
    late = 1024 / rate if container == "adts" else 0
    times = np.arange(len(speech.samples)) / RATE - late
    inner = slice(RATE // 4, RATE * 2)
    expected = 0.5 * np.sin(2 * np.pi * 440 * times)[inner]
    assert np.corrcoef(speech.samples[inner], expected)[0, 1] > 0.995
    assert speech.rms == pytest.approx(0.5 / np.sqrt(2), rel=0.06)
    assert speech.peak == pytest.approx(0.5, abs=0.15)


def test_a_stereo_recording_of_one_voice_does_not_clip(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "a.wav", 1.9 * tone(0.5, 48_000, 2), 48_000)
    assert _decode(path, 0.5).peak == pytest.approx(0.95, abs=0.01)


def test_places_on_the_timeline(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "a.wav", tone(1, 48_000), 48_000)
    samples = _decode(path, 3, Part(0.5, 0.75)).samples
    assert len(samples) == 3 * RATE
    heard = np.nonzero(samples)[0]
    assert heard[0] == pytest.approx(0.5 * RATE, abs=3)
    assert heard[-1] == pytest.approx(1.25 * RATE, abs=3)
    late = _decode(path, 3, Part(2.5, 1)).samples
    assert len(late) == 3 * RATE
    assert np.nonzero(late)[0][0] >= 2.5 * RATE
    assert not _decode(path, 3, Part(5, 1)).samples.any()


def test_long_silence_takes_no_space(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "a.wav", tone(1, 48_000), 48_000)
    _decode(path, 3600, Part(3000, 1))
    file = tmp_path / "speech.npy"
    assert file.stat().st_size > 3600 * RATE * 4
    assert file.stat().st_blocks * 512 < 1_000_000


@pytest.mark.parametrize("field", [4, 40])
@pytest.mark.parametrize("size", [0, 0xFFFFFFFF])
def test_wav_headers_without_a_length(tmp_path: Path, field: int, size: int) -> None:
    path = tmp_path / "a.wav"
    with wave.open(str(path), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(RATE)
        out.writeframes((tone(1, RATE)[0] * 32767).astype("<i2").tobytes())
    content = bytearray(path.read_bytes())
    content[field : field + 4] = size.to_bytes(4, "little")
    path.write_bytes(content)
    assert probe_audio(path).seconds == pytest.approx(1)
    assert _decode(path, 1).rms == pytest.approx(0.354, abs=0.01)


@pytest.mark.parametrize("container", ["wav", "mp3", "adts", "flac", "ogg"])
def test_half_a_file_is_as_long_as_what_is_there(tmp_path: Path, container: str) -> None:
    codecs = {"wav": "pcm_s16le", "mp3": "libmp3lame", "adts": "aac", "flac": "flac"}
    codec = codecs.get(container, "libopus")
    path = write_sound(tmp_path / "a", tone(8, 48_000), 48_000, codec, container=container)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    facts = probe_audio(path)
    assert 2 < facts.seconds < 6
    speech = _decode(path, facts.seconds)
    assert speech.rms > 0.3


def test_a_cut_off_m4a_warns(tmp_path: Path) -> None:
    """Its index comes first and promises more than there is."""
    path = tmp_path / "a.m4a"
    write_sound(tmp_path / "b.m4a", tone(8, 48_000), 48_000, "aac", container="mp4")

    with (
        av.open(str(tmp_path / "b.m4a")) as source,
        av.open(str(path), "w", format="mp4", options={"movflags": "faststart"}) as target,
    ):
        stream = target.add_stream_from_template(source.streams.audio[0])
        for packet in source.demux():
            packet.stream = stream
            target.mux(packet)
    path.write_bytes(path.read_bytes()[:30_000])
    speech = _decode(path, 8)
    assert any("cut off" in warning for warning in speech.warnings)
    assert speech.samples[RATE : 2 * RATE].any()
    assert not speech.samples[6 * RATE :].any()


def test_bad_packets_in_the_middle_are_left_out(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "a.flac", tone(6, 44_100), 44_100, "flac")
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 1500] = bytes(1500)
    path.write_bytes(content)
    speech = _decode(path, 6)
    assert speech.samples[: 2 * RATE].any()
    assert speech.samples[int(4.5 * RATE) : 5 * RATE].any()


def test_noise_that_poses_as_mp3_is_refused(tmp_path: Path) -> None:
    noise = np.random.default_rng(3).integers(0, 256, 5000, np.uint8).tobytes()
    (tmp_path / "a.mp3").write_bytes(b"\xff\xfb\x90\x00" + noise)
    with pytest.raises(TalkheadError) as caught:
        probe_audio(tmp_path / "a.mp3")
        _decode(tmp_path / "a.mp3", 1)
    assert caught.value.code in {Code.AUDIO, Code.INPUT}
    assert not (tmp_path / "speech.npy").exists()


def test_floats_that_are_no_numbers_are_silenced(tmp_path: Path) -> None:
    samples = tone(1, 44_100)
    samples[0, 1000:1010] = np.nan
    samples[0, 2000] = np.inf
    samples[0, 30_000] = -np.inf
    speech = _decode(_float_wav(tmp_path / "a.wav", samples), 1)
    assert np.isfinite(speech.samples).all()
    assert len(speech.warnings) == 1
    assert "not numbers" in speech.warnings[0]
    assert speech.rms == pytest.approx(0.354, abs=0.01)


def test_floats_beyond_full_scale(tmp_path: Path) -> None:
    hot = _decode(_float_wav(tmp_path / "hot.wav", 3 * tone(1, 44_100)), 1)
    assert hot.peak == 1
    with pytest.raises(TalkheadError, match="float sound") as caught:
        _decode(_float_wav(tmp_path / "int.wav", 32768 * tone(1, 44_100)), 1)
    assert caught.value.code == Code.AUDIO


def test_silence_works_and_is_told(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "a.wav", 0 * tone(1, RATE), RATE)
    speech = _decode(path, 1)
    assert (speech.peak, speech.rms) == (0, 0)
    assert not speech.samples.any()


@pytest.mark.parametrize("count", [0, 1, 100])
def test_too_short_to_speak(tmp_path: Path, count: int) -> None:
    with wave.open(str(tmp_path / "a.wav"), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(RATE)
        out.writeframes(bytes(2 * count))
    with pytest.raises(TalkheadError) as caught:
        probe_audio(tmp_path / "a.wav", "speakers.0.audio")
    assert caught.value.code == Code.AUDIO
    assert caught.value.fields == ("speakers.0.audio",)


def test_the_sound_of_a_video_starts_with_its_picture(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mkv", moving(50), tone(1.5, 48_000), late=0.5)
    assert probe_audio(path).seconds == pytest.approx(2, abs=0.05)
    samples = _decode(path, 2).samples
    assert np.abs(samples[: int(0.45 * RATE)]).max() < 0.01
    assert np.abs(samples[int(0.55 * RATE) : int(1.9 * RATE)]).max() > 0.4
    on_time = write_video(tmp_path / "b.mp4", moving(50), tone(2, 48_000))
    assert probe_audio(on_time).seconds == pytest.approx(2, abs=0.03)
    assert np.abs(_decode(on_time, 2).samples[100:1000]).max() > 0.4


def test_damaged_bytes_never_raise_anything_else(tmp_path: Path) -> None:
    """Flip bytes of every container: speech comes out, or an error of ours."""
    rng = np.random.default_rng(5)
    formats = {"wav": "pcm_f32le", "mp3": "libmp3lame", "flac": "flac", "ogg": "vorbis"}
    formats |= {"ipod": "aac", "adts": "aac", "matroska": "aac", "avi": "pcm_s16le"}
    for container, codec in formats.items():
        whole = write_sound(
            tmp_path / "whole", tone(0.5, 44_100, 2), 44_100, codec, container=container
        ).read_bytes()
        for turn in range(16):
            content = bytearray(whole)
            for at in rng.integers(8, 500 if turn % 2 else len(content), 6):
                content[at] = rng.integers(256)
            (tmp_path / "a").write_bytes(content)
            try:
                probe_audio(tmp_path / "a")
                assert np.isfinite(_decode(tmp_path / "a", 0.5).samples).all()
            except TalkheadError as error:
                assert error.hint


def test_a_sound_without_a_decoder_is_refused(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "a.wav", tone(1, RATE), RATE)
    content = bytearray(path.read_bytes())
    content[20:22] = b"\xfe\x7a"  # a codec that nobody knows
    path.write_bytes(content)
    with pytest.raises(TalkheadError, match="unknown codec") as caught:
        probe_audio(path)
    assert caught.value.code == Code.AUDIO


def test_too_many_channels_are_refused(tmp_path: Path) -> None:
    with wave.open(str(tmp_path / "a.wav"), "wb") as out:
        out.setnchannels(16)
        out.setsampwidth(2)
        out.setframerate(RATE)
        out.writeframes(bytes(32 * RATE))
    with pytest.raises(TalkheadError, match="16 channels"):
        _decode(tmp_path / "a.wav", 1)


def test_more_than_four_hours_are_refused(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "a.flac", tone(1, 8000), 8000, "flac")
    content = bytearray(path.read_bytes())
    content[22:26] = b"\xff\xff\xff\xff"  # low bits of the number of samples
    path.write_bytes(content)
    with pytest.raises(TalkheadError, match="longer than 4 hours"):
        probe_audio(path)


def test_a_video_without_sound(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", moving(5))
    with pytest.raises(TalkheadError, match="video without sound") as caught:
        probe_audio(path)
    assert caught.value.code == Code.AUDIO


def test_nothing_is_left_when_decoding_fails(tmp_path: Path) -> None:
    path = _float_wav(tmp_path / "a.wav", 32768 * tone(1, 44_100))
    with pytest.raises(TalkheadError):
        _decode(path, 1)
    assert [file.name for file in tmp_path.iterdir()] == ["a.wav"]


@pytest.mark.parametrize("outputs", [1, 2])
@pytest.mark.parametrize(
    "channels",
    [
        ("FC",),
        ("FL", "FR"),
        ("FL", "FR", "FC", "LFE", "BL", "BR"),
        ("FL", "FR", "FC", "LFE", "BL", "BR", "SL", "SR"),
        ("NONE",) * 3,
        ("LFE",),
    ],
)
def test_downmixes_never_clip_and_never_lose_a_side(
    channels: tuple[str, ...], outputs: int
) -> None:
    matrix = downmix(channels, outputs)
    assert matrix.shape == (outputs, len(channels))
    assert (matrix >= 0).all()
    assert matrix.sum(axis=1) == pytest.approx(np.ones(outputs))


def test_arrange_together_and_in_turn() -> None:
    none = [None, None]
    assert arrange([2, 3], "together", none, none) == ([Part(0, 2), Part(0, 3)], 3)
    assert arrange([2, 3], "in_turn", none, none) == ([Part(0, 2), Part(2, 3)], 5)


def test_arrange_keeps_to_starts_and_ends() -> None:
    parts, total = arrange([4, 3, 1], "in_turn", [1, None, None], [3, None, None])
    assert parts == [Part(1, 2), Part(3, 3), Part(6, 1)]
    assert total == 7
    parts, total = arrange([4, 3], "together", [None, 2], [None, 9])
    assert parts == [Part(0, 4), Part(2, 3)]
    assert total == 5
    with pytest.raises(TalkheadError, match="speaker 2") as caught:
        arrange([4, 3], "in_turn", [None, None], [None, 2])
    assert caught.value.fields == ("speakers.1.end",)
