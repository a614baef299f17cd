"""A video that can be watched while it is made: each segment is published as soon as it is safe.

A thread beside the rendering turns committed segments into parts (media/fragments.py), stores
them, and after them a playlist that names them (playlists.py). Nothing waits for it before the
job's last step. Where the store fails the thread tries again, and the job goes on: the worst that
a stream can do to a video is a warning.
"""

import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from talkhead import deliver, playlists
from talkhead.engines import Plan, Tick
from talkhead.errors import Code, TalkheadError
from talkhead.folder import Folder, Segment
from talkhead.intake import Context
from talkhead.media.fragments import init_segment, media_part
from talkhead.playlists import PLAYLIST, Published
from talkhead.rendering import SOUNDTRACK
from talkhead.report import naming
from talkhead.request import Output
from talkhead.result import Made, Notice
from talkhead.stores import Shelf
from talkhead.stores.mimes import mime_of
from talkhead.survey import Work

FIRST_S, LAST_S = 1.0, 30.0  # waits after failures in a row
LAST_TRIES = 4  # in a row, once the video is finished
LEAVE_S = 3.0  # that a stream may hold up the end of a job that failed
GAP_S = 3.0  # between two playlists while parts wait: each of them signs every entry

Told = Callable[[str, float], None]


@contextmanager
def beside(
    work: Work, folder: Folder, job_id: str, asked: str, context: Context
) -> Iterator["Stream | NoStream"]:
    """Publish the folder's segments inside the block, where the request wants that.

    `asked` is the request's digest. Raises E_INPUT_VALIDATION where the job's keys in the store
    are another job's. A job that fails for good, or is cancelled, has its playlist ended, so that
    players stop; one that may go on leaves it open.
    """
    output = work.request.output
    if not output.stream:
        yield NoStream()
        return
    shelf = context.runtime.shelf(output.store)
    deliver.claim(job_id, asked, output, context.runtime, context.scratch)
    key = deliver.key_of(shelf.prefix, output, job_id, PLAYLIST)
    stream = Stream(folder, key, shelf, output, work.plan, context.reporter.streaming)
    try:
        yield stream
    except TalkheadError as error:
        stream.leave(ended=error.code is Code.CANCELLED or not error.retryable)
        raise
    except BaseException:
        stream.leave(ended=False)
        raise
    stream.leave(ended=False)


class NoStream:
    """What stands for a stream where none is wanted."""

    def committed(self) -> None:
        """Do nothing."""

    def whole(self, tick: Tick) -> list[Made]:  # noqa: ARG002 (a stream's)
        """Return nothing."""
        return []

    def notices(self) -> list[Notice]:
        """Return nothing."""
        return []


class Stream:
    """The parts of one job on their way to the store, in order, on a thread of their own."""

    def __init__(
        self,
        folder: Folder,
        key: str,
        shelf: Shelf,
        output: Output,
        plan: Plan,
        told: Told,
    ) -> None:
        self._folder = folder
        self._key = key
        self._shelf = shelf
        self._output = output
        self._url = deliver.kind_of_url(output, shelf)
        self._fps = plan.fps
        self._lengths = [frames / plan.fps for frames in plan.segments]  # seconds, of all parts
        self._told = told
        self._changed = threading.Condition()
        self._segments: list[Segment] = folder.segments  # committed
        self._names: list[str] = []  # stored: the init segment and the parts
        self._frames = 0  # in those parts
        self._before: list[str] | None = None  # names of an earlier run's playlist
        self._published: Published | None = None
        self._at = 0.0  # when that was
        self._out = 0  # parts of this run in it
        self._seconds = 0.0  # that can be watched
        self._finishing = False  # no more segments will come
        self._leaving = False  # the job has ended: no further step
        self._to_end = False  # but to end the playlist
        self._ended = False  # the playlist says that it is whole
        self._failures = 0  # in a row
        self._problem: TalkheadError | None = None
        self._thread = threading.Thread(target=self._run, name="stream", daemon=True)
        self._thread.start()

    def committed(self) -> None:
        """Take over what the folder holds now. Called on the thread that commits; never waits."""
        with self._changed:
            self._segments = self._folder.segments
            self._changed.notify_all()

    def whole(self, tick: Tick) -> list[Made]:
        """Wait until all is published and the playlist ended; return the stream, or nothing.

        Gives up after a few failures in a row; `notices` says so.
        """
        with self._changed:
            self._finishing = True
            self._changed.notify_all()
        while self._thread.is_alive():
            tick(len(self._names), len(self._lengths) + 2)
            self._thread.join(0.1)
        if not self._ended or self._published is None:
            return []
        facts = {
            "parts": len(self._lengths),
            "frames": self._frames,
            "seconds": float(sum(self._lengths)),
        }
        return [
            Made(
                kind="stream",
                key=self._key,
                mime=mime_of(self._key),
                bytes=self._published.bytes,
                sha256=self._published.sha256,
                facts=facts,
            )
        ]

    def notices(self) -> list[Notice]:
        """Return what has to be said of a stream that is not whole."""
        if self._ended or self._problem is None:
            return []
        message = f"the stream stopped after {self._seconds:g} s: {self._problem.message}"
        return [Notice(code="W_STREAM", field="output.stream", message=message)]

    def leave(self, *, ended: bool) -> None:
        """Stop publishing; with `ended`, tell players that no more will come.

        A call to the store that hangs is left to itself: it changes nothing after.
        """
        with self._changed:
            self._leaving, self._to_end = True, ended
            self._changed.notify_all()
        self._thread.join(LEAVE_S)
        self._to_end = False  # another run may go on with the job from now on

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(self._has_work)
            if self._leaving or self._ended:
                self._say_goodbye()
                return
            try:
                with naming(None):  # whatever it is, it must not cost the video
                    self._advance()
                self._failures = 0
            except TalkheadError as error:
                self._problem = error
                self._failures += 1
                if self._finishing and self._failures >= LAST_TRIES:
                    return
                self._pause()

    def _say_goodbye(self) -> None:
        """Tell players of a job that failed that no more will come, where the store is there."""
        if self._to_end and self._published and not self._failures and not self._ended:
            with suppress(TalkheadError, OSError):
                self._publish(ended=True)

    def _has_work(self) -> bool:
        return self._leaving or self._finishing or len(self._segments) > self._out

    def _pause(self) -> None:
        wait = min(FIRST_S * 2 ** min(self._failures - 1, 10), LAST_S)
        with self._changed:
            finishing = self._finishing
            self._changed.wait_for(
                lambda: self._leaving or self._finishing is not finishing, timeout=wait
            )

    def _advance(self) -> None:
        """Store what is missing, parts first, and the playlist when it is time for one."""
        if self._before is None:
            self._before = playlists.names(playlists.stored(self._shelf.store, self._key))
        while not self._leaving:
            finishing, segments = self._finishing, self._segments
            if not self._names:
                self._put_init(segments[0])
            if waiting := segments[len(self._names) - 1 :]:
                self._put_part(waiting[0])
            whole = finishing and len(waiting) <= 1
            if len(waiting) <= 1 or time.monotonic() - self._at >= GAP_S:
                self._publish(ended=whole)
            if len(waiting) <= 1:
                break
        if self._ended:
            self._clear()

    def _put_init(self, first: Segment) -> None:
        data = init_segment(first.file, self._folder.path / SOUNDTRACK, self._fps)
        self._put(data, "init", ".mp4")

    def _put_part(self, segment: Segment) -> None:
        number = len(self._names) - 1
        sound = self._folder.path / SOUNDTRACK
        data = media_part(segment.file, sound, self._fps, number, self._frames, segment.frames)
        self._put(data, f"part-{number:05d}", ".m4s")
        self._frames += segment.frames

    def _put(self, data: bytes, start: str, suffix: str) -> None:
        """Store a file under a name of its content; one that an earlier run has stored stays."""
        sha256 = hashlib.sha256(data).hexdigest()
        name = f"{start}-{sha256[:8]}{suffix}"
        if name not in (self._before or ()):
            file = self._folder.path / f".stream{suffix}"
            key = f"{self._key.rpartition('/')[0]}/{name}"
            try:
                file.write_bytes(data)
                self._shelf.store.put(file, key, mime=mime_of(name), sha256=sha256)
            finally:
                file.unlink(missing_ok=True)
        self._names.append(name)

    def _publish(self, *, ended: bool) -> None:
        shown = self._shown()
        text = playlists.written(shown, self._lengths, ended=ended)
        self._published = playlists.publish(
            text, self._key, self._shelf, self._url, self._output.expires_s, self._folder.path
        )
        self._at, self._ended = time.monotonic(), ended
        self._out = len(self._names) - 1
        self._seconds = float(sum(self._lengths[: len(shown) - 1]))
        if not self._leaving:
            self._told(self._published.link.url, self._seconds)

    def _shown(self) -> list[str]:
        """Return the names for the playlist, which never loses what viewers have seen in it.

        An earlier run may have published more than this one has made again.
        """
        before = (self._before or [])[: len(self._lengths) + 1]
        return before if before[: len(self._names)] == self._names else self._names

    def _clear(self) -> None:
        """Delete parts of an earlier run that made other ones; a store that fails keeps them."""
        home = self._key.rpartition("/")[0]
        with suppress(TalkheadError):
            for name in self._before or ():
                if name not in self._names:
                    self._shelf.store.delete(f"{home}/{name}")
