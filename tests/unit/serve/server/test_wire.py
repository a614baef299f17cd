"""Jobs as callers see them."""

from talkhead.serve.server import wire


def test_files_in_a_request_are_cut_and_words_are_not() -> None:
    said = "Good morning, everybody! " * 40
    payload = {
        "portrait": f"data:image/png;base64,{'A' * 5000}",
        "speakers": [{"text": said}, {"audio_base64": "QUJD\n" * 500}, {"audio": "volume:a.wav"}],
        "duration": 3,
    }
    shown = wire.shortened(payload)
    assert len(shown["portrait"]) == len(shown["speakers"][1]["audio_base64"]) == wire.SHORT
    assert shown["portrait"].startswith("data:image/png;base64,AAA")
    assert shown["speakers"][0]["text"] == said
    assert shown["speakers"][2] == {"audio": "volume:a.wav"}
    assert shown["duration"] == 3
