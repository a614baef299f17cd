"""Words and options that several commands have in common."""

from pathlib import Path
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print the result object only, as JSON.")]
Force = Annotated[bool, typer.Option("--force", "-f", help="Replace an existing output.")]
Verbose = Annotated[bool, typer.Option("--verbose", help="Show the traceback of a failure.")]
Portrait = Annotated[
    str | None,
    typer.Argument(help="Picture of a face, or a video to dub: a path or library:NAME."),
]
Speeches = Annotated[
    list[str] | None,
    typer.Argument(metavar="[SPEECH]...", help="Recording, or a video for its sound."),
]
Text = Annotated[str | None, typer.Option("--text", "-t", help="Text to speak, for a recording.")]
VoiceName = Annotated[str | None, typer.Option(help="Voice of --text: espeak, espeak:fr, …")]
Transcript = Annotated[
    str | None, typer.Option(help="Words of the recording, or a file of them: exact lips.")
]
Language = Annotated[str | None, typer.Option(help="Language of the speech: en, fr, cmn, …")]
EngineName = Annotated[str | None, typer.Option(help="Engine; `talkhead doctor` lists them.")]
Size = Annotated[str | None, typer.Option(help="512x512, 720 (long side) or 480p (short side).")]
Fit = Annotated[str | None, typer.Option(help="How the portrait fills it: crop, pad or face.")]
Boxes = Annotated[
    list[str] | None, typer.Option("--box", help="x0,y0,x1,y1 of a speaker's face; one each.")
]
Seed = Annotated[int | None, typer.Option(help="Same seed, same frames. Unset: random.")]
Sets = Annotated[
    list[str] | None,
    typer.Option("--set", help="Any field of the request: duration=5, turns=in_turn."),
]
Base = Annotated[Path | None, typer.Option("--request", help="A request as a JSON file.")]
Resume = Annotated[str | None, typer.Option(help="Go on with an unfinished job, by its id.")]
Out = Annotated[Path | None, typer.Option("--out", "-o", help="The file to write.")]
