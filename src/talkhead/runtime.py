"""What outlives a job: settings, stores, loaded engines and voices."""

from copy import copy
from pathlib import Path
from typing import Any, Self

from talkhead import __version__, registry, weights
from talkhead.engines import Engine, Supplies
from talkhead.errors import Code, TalkheadError
from talkhead.request import ACTIONS
from talkhead.result import Ability, Component, Result
from talkhead.settings import S3, Settings, StoreSettings, load
from talkhead.stores import Receives, Shelf, Store
from talkhead.validation import validate
from talkhead.voices import Isolator, Voice
from talkhead.weights import locate, supply


class Runtime:
    """One per process. Engines and voices are built when first used, and kept.

    `local_paths` lets requests name files of this machine: right for a command line, wrong for
    anything that takes requests from others. `serving` makes `engine: auto` the operator's engine
    alone. `store` stands in for the one that the settings describe.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        store: Store | None = None,
        *,
        local_paths: bool = False,
        serving: bool = False,
    ) -> None:
        self.settings = settings or load()
        self.local_paths = local_paths
        self.serving = serving
        self._loaded: dict[
            tuple[str, str], Any
        ] = {}  # engines, voices and makers, by kind and name
        self._opened: dict[str, Store] = {}  # the operator's stores
        self._out: Shelf | None = None  # where results go in place of the default store
        if store is not None:
            self._out = Shelf("default", store, self.settings.store.prefix)

    def delivering_to(self, settings: S3) -> Self:
        """Return a runtime that shares what is loaded and delivers to a caller's own bucket."""
        other = copy(self)
        other._out = Shelf("default", _open(settings), settings.prefix)
        return other

    def aside(self, folder: Path) -> Self:
        """Return a runtime that shares what is loaded and keeps all its files in folder."""
        local = {"store": {"root": folder / "out"}, "jobs": folder / "jobs", "mirror": False}
        other = copy(self)
        other.settings = self.settings.model_validate({**dict(self.settings), **local})
        other._out, other._opened = None, {}
        return other

    def shelf(self, name: str = "default") -> Shelf:
        """Return where results go: `default`, its kind, or one of settings.stores."""
        if name in self.settings.stores:
            return Shelf(name, self._store(name), self.settings.stores[name].prefix)
        if self._out is not None and name == "default":
            return self._out
        if name in ("default", self.settings.store.kind) and self._out is None:
            return Shelf("default", self._store("default"), self.settings.store.prefix)
        raise TalkheadError(
            Code.UNSUPPORTED,
            f"output.store: there is no store {name!r} here",
            f"available: {', '.join(sorted({'default', *self.settings.stores}))}",
            fields=["output.store"],
        )

    def source(self) -> Store:
        """Return the operator's default store, which `store:` references read."""
        return self._store("default")

    def choose(self, wanted: str) -> tuple[str, str]:
        """Return the engine for a request's `engine`, and why it is that one."""
        if wanted != "auto":
            return wanted, "asked for by name"
        if self.settings.engine != "auto":
            return self.settings.engine, "the operator's default"
        if self.serving:
            raise TalkheadError(
                Code.WEIGHTS,
                "no default engine is set for this server",
                "name the engine in the request, or set TALKHEAD_ENGINE, for example to draft",
                fields=["engine"],
            )
        return self._best()

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
        """Return a portrait maker or workflow runner by name; `default` is the only one."""
        table = self._makers(kind)
        if not table:
            raise TalkheadError(
                Code.UNSUPPORTED,
                f"no {kind} maker is part of this installation",
                "the operator can register one: see docs/contract.md",
                fields=["action"],
            )
        if name == "default" and len(table) == 1:
            name = next(iter(table))
        return self._load(kind, name, table)

    def isolator(self) -> Isolator | None:
        """Return what takes music and noise away: the operator's first, or an installed one."""
        table = self.settings.isolators or registry.ISOLATORS
        names = [name for name in table if not registry.missing(name)]
        found: Isolator | None = self._load("isolator", names[0], table) if names else None
        return found

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
                actions=tuple(action for action in ACTIONS if self._serves(action)),
                engines=tuple(self._engine(name) for name in self._engines),
                voices=tuple(_component("voice", name) for name in self._voices),
                stores=tuple(sorted({"default", *self.settings.stores})),
                price_per_hour=self.settings.price_per_hour,
            ),
        )

    def health(self) -> Result:
        """Answer `health`: whether the engine that `auto` stands for can work."""
        name, _ = self.choose("auto")
        self.engine(name)
        found = self._engine(name)
        if not found.ready:
            raise TalkheadError(Code.WEIGHTS, f"engine {name!r}: {found.detail}", found.fix)
        return Result(action="health", version=__version__, engine=name, healthy=True)

    @property
    def _engines(self) -> dict[str, str]:
        return {**registry.ENGINES, **self.settings.engines}

    @property
    def _voices(self) -> dict[str, str]:
        return {**registry.VOICES, **self.settings.voices}

    def _store(self, name: str) -> Store:
        if name not in self._opened:
            self._opened[name] = _open(self.settings.stores.get(name, self.settings.store))
        return self._opened[name]

    def _makers(self, kind: str) -> dict[str, str]:
        if kind == "portrait":
            return {**registry.PORTRAITS, **self.settings.portraits}
        return {**registry.WORKFLOWS, **self.settings.workflows}

    def _serves(self, action: str) -> bool:
        if action == "animate":
            return False  # no engine of this version does
        if action == "uploads":
            lack = registry.missing(self.settings.store.kind)
            return not lack and isinstance(self.source(), Receives)
        return action != "portrait" or bool(self._makers("portrait"))

    def _engine(self, name: str) -> Component:
        found = _component("engine", name)
        if not found.ready:
            return found
        try:
            spec = self.engine(name).spec
        except TalkheadError as error:  # told in its row: `doctor` is there to say so
            return Component(name=name, ready=False, detail=error.message, fix=error.hint)
        found = found.model_copy(update={"licence": spec.licence})
        return found.model_copy(update=self._weights(spec.weights)) if spec.weights else found

    def _weights(self, sets: tuple[str, ...]) -> dict[str, Any]:
        """Return what a component says of an engine's weights, of which one set has to be whole.

        The text encoder does not count: prompts that were encoded need none.
        """
        settings = self.settings
        known, places = weights.known(settings.weights_manifest), supply.places_of(settings)
        lacks = set(supply.lacking(sets, places, known, text_encoder=False))
        lost = {name: [f.id for f in known.sets[name].files if f.id in lacks] for name in sets}
        here = [name for name in sets if not lost[name]]
        if here:
            return {"detail": f"weights are here: {', '.join(here)}"}
        first = sets[0]
        detail = f"{len(lost[first])} files of weights are missing, {lost[first][0]} first"
        return {"ready": False, "detail": detail, "fix": f"talkhead weights pull {first}"}

    def _best(self) -> tuple[str, str]:
        """Return the engine for people who name none: one with weights where it can work."""
        reasons = []
        for name in (name for name in registry.ENGINES if name != "draft"):
            found = self._engine(name)
            if found.ready and _gpu(self.settings.device):
                return name, "its weights and a GPU are here"
            why = f"{found.detail}: {found.fix}" if not found.ready else "there is no GPU"
            reasons.append(f"{name} cannot work here ({why})")
        return "draft", "; ".join(reasons)

    def _load(self, kind: str, name: str, table: dict[str, str]) -> Any:
        key = kind, name
        if key not in self._loaded:
            try:
                made = registry.resolve(kind, name, table)
                weighty = kind == "engine" and made.spec.weights
                self._loaded[key] = made(self._supplies()) if weighty else made()
            except ImportError as error:
                raise TalkheadError(
                    Code.WEIGHTS, f"{kind} {name!r} does not load: {error}", "run `talkhead doctor`"
                ) from error
        return self._loaded[key]

    def _supplies(self) -> Supplies:
        settings = self.settings
        places = supply.places_of(settings)
        return Supplies(
            files=supply.finder(places, weights.known(settings.weights_manifest)),
            identity=supply.identity,
            prompts=(settings.prompts, *locate.prompt_folders(places)),
            device=settings.device,
            attention=settings.attention,
            compiled=settings.compile,
            plans_only=settings.worker.plans_only,
        )


def _gpu(device: str) -> bool:
    """Return whether a device of that name is a GPU that is there."""
    if device == "cpu":
        return False
    import torch  # noqa: PLC0415 (heavy; asked only where weights are)

    return torch.cuda.is_available()


def _open(settings: StoreSettings) -> Store:
    store: Store = registry.resolve("store", settings.kind, registry.STORES).open(settings)
    return store


def _component(kind: str, name: str) -> Component:
    lack = registry.missing(name)
    if lack:
        return Component(
            name=name, ready=False, detail=f"{kind} not installed", fix=registry.install(lack)
        )
    return Component(name=name, ready=True, detail="installed")
