"""What outlives a job: settings, store, loaded engines and voices."""

from typing import Any

from talkhead import __version__, registry
from talkhead.engines import Engine
from talkhead.errors import Code, TalkheadError
from talkhead.request import ACTIONS
from talkhead.result import Ability, Component, Result
from talkhead.settings import Settings, load
from talkhead.stores import Store
from talkhead.stores.local import LocalStore
from talkhead.validation import validate
from talkhead.voices import Voice


class Runtime:
    """One per process. Engines and voices are built when first used, and kept.

    `local_paths` lets requests name files of this machine: right for a command line, wrong for
    anything that takes requests from others.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        store: Store | None = None,
        *,
        local_paths: bool = False,
    ) -> None:
        self.settings = settings or load()
        self.store = store or LocalStore(self.settings.store.root)
        self.local_paths = local_paths
        self._loaded: dict[tuple[str, str], Any] = {}

    def choose(self, wanted: str) -> tuple[str, str]:
        """Return the engine for a request's `engine`, and why it is that one."""
        if wanted != "auto":
            return wanted, "asked for by name"
        if self.settings.engine != "auto":
            return self.settings.engine, "the operator's default"
        return "draft", "the only engine of this version"

    def engine(self, name: str) -> Engine:
        """Return the engine of that name, building it on first use."""
        engine: Engine = self._load("engine", name, self._engines)
        return engine

    def voice(self, name: str | None) -> tuple[Voice, str | None]:
        """Return the voice and the variant behind a name such as `espeak:fr`."""
        base, _, variant = (name or self.settings.voice).partition(":")
        voice: Voice = self._load("voice", base, self._voices)
        return voice, variant or None

    def maker(self, kind: str, name: str) -> Any:
        """Return a portrait maker or workflow runner by name."""
        tables = {
            "portrait": {**registry.PORTRAITS, **self.settings.portraits},
            "workflow": {**registry.WORKFLOWS, **self.settings.workflows},
        }
        return self._load(kind, name, tables[kind])

    def options(self, engine: str, values: dict[str, Any]) -> Any:
        """Return a request's `options` as the engine's own model."""
        registry.resolve("engine", engine, self._engines)
        return validate(registry.options_of(self._engines[engine]), values, "options")

    def ability(self) -> Result:
        """Answer `capabilities`."""
        return Result(
            action="capabilities",
            version=__version__,
            ability=Ability(
                actions=tuple(ACTIONS),
                engines=tuple(self._engine(name) for name in self._engines),
                voices=tuple(_component("voice", name) for name in self._voices),
                stores=tuple(registry.STORES),
            ),
        )

    def health(self) -> Result:
        """Answer `health`: whether the engine that `auto` stands for can be built."""
        name, _ = self.choose("auto")
        self.engine(name)
        return Result(action="health", version=__version__, engine=name, healthy=True)

    @property
    def _engines(self) -> dict[str, str]:
        return {**registry.ENGINES, **self.settings.engines}

    @property
    def _voices(self) -> dict[str, str]:
        return {**registry.VOICES, **self.settings.voices}

    def _engine(self, name: str) -> Component:
        found = _component("engine", name)
        if not found.ready:
            return found
        try:
            return found.model_copy(update={"licence": self.engine(name).spec.licence})
        except TalkheadError as error:  # told in its row: `doctor` is there to say so
            return Component(name=name, ready=False, detail=error.message, fix=error.hint)

    def _load(self, kind: str, name: str, table: dict[str, str]) -> Any:
        key = kind, name
        if key not in self._loaded:
            try:
                self._loaded[key] = registry.resolve(kind, name, table)()
            except ImportError as error:
                raise TalkheadError(
                    Code.WEIGHTS, f"{kind} {name!r} does not load: {error}", "run `talkhead doctor`"
                ) from error
        return self._loaded[key]


def _component(kind: str, name: str) -> Component:
    lack = registry.missing(name)
    if lack:
        return Component(
            name=name, ready=False, detail=f"{kind} not installed", fix=registry.install(lack)
        )
    return Component(name=name, ready=True, detail="installed")
