"""One window after another: condition, denoise, decode.

InfiniteTalk (MeiGen-AI, arXiv 2508.14033; official code commit 0107cd9). What all windows of a job
share is made once (`ready`); what one window leaves to the next is the latents of its last frames,
so that a job goes on from a few megabytes of state.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from diffusers import AutoencoderKLWan
from torch import Tensor

from talkhead.engines import Arrays, Frames, Picture, Tick
from talkhead.engines.infinitetalk.audio import Features, audio_windows
from talkhead.engines.infinitetalk.conditioning import condition
from talkhead.engines.infinitetalk.noise import official_noise
from talkhead.engines.infinitetalk.transformer import Condition, InfiniteTalkTransformer
from talkhead.engines.infinitetalk.upstream import Upstream
from talkhead.models import sampling, schedule, stepcache, wan_vae
from talkhead.models.color import ColorStats, color_stats, match_color
from talkhead.models.guidance import Averages, combine, combine_projected
from talkhead.models.noise import window_noise
from talkhead.models.passes import Guidance, Pass, Projection, passes_needed
from talkhead.models.sampling import Made, Steps
from talkhead.models.vae_sizes import Tiles
from talkhead.models.wan_blocks import KeyValue
from talkhead.models.wan_transformer import Keys
from talkhead.models.wan_vae import Stills, pixels
from talkhead.models.windows import Window, chunks, latent_frames

Conditions = Mapping[Pass, Condition]  # of the passes that each step runs
VOICED = (Pass.BOTH, Pass.AUDIO)  # the passes that hear the speech; the others hear silence
WORDED = (Pass.BOTH, Pass.TEXT)  # the passes that read the prompt; the others read the negative one


@dataclass(frozen=True, slots=True, eq=False)
class Models:
    """The networks that windows need, on one device; text and looks were encoded before."""

    transformer: InfiniteTalkTransformer
    vae: AutoencoderKLWan
    stills: Stills  # of the same VAE


@dataclass(frozen=True, slots=True)
class Settings:
    """How the frames are made."""

    steps: int
    shift: float
    guidance: Guidance
    seed: int
    projection: Projection | None = None  # adaptive projected guidance; None is plain guidance
    teacache_threshold: float | None = None  # None computes every step
    color_strength: float = 1.0
    audio_scale: float = 1.0
    tiles: Tiles | None = None  # of the VAE; None is the whole picture at once
    upstream: Upstream = field(default_factory=Upstream)


@dataclass(frozen=True, slots=True, eq=False)
class Inputs:
    """What the frames are made of, in host memory.

    `pictures` and `looks` are one for each window, or fewer, of which the last serves the rest: one
    for a still.
    """

    windows: tuple[Window, ...]
    pictures: Sequence[Picture]  # fitted: all of one size, the video's
    looks: Tensor  # f32 (pictures, tokens, dim), CLIP's features
    text: Tensor  # f32 (tokens, dim), the encoded prompt
    negative: Tensor  # f32 (tokens, dim)
    speech: Sequence[Features]  # one for each speaker
    masks: Tensor | None = None  # f32 (3, h, w) of latents; None for one speaker


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """Inputs, and what all windows share."""

    inputs: Inputs
    settings: Settings
    times: Tensor  # f32 (steps + 1,)
    computed: tuple[bool, ...]  # steps that run the blocks; the others use the last change again
    words: Mapping[bool, Keys]  # of the prompt, and of the negative one where a pass reads it
    silence: Keys | None  # where a pass hears it
    colors: ColorStats


@torch.inference_mode()
def ready(models: Models, inputs: Inputs, settings: Settings) -> Job:
    """Return the job with all that its windows share, and nothing that none of them needs."""
    net = models.transformer
    passes = _passes(settings)
    times = schedule.timesteps(settings.steps, settings.shift)
    words = {True: net.text_keys(_batch(net, inputs.text))}
    if any(name not in WORDED for name in passes):
        words[False] = net.text_keys(_batch(net, inputs.negative))
    mute = any(name not in VOICED for name in passes)
    first = pixels(inputs.pictures[0]).to(net.device)
    return Job(
        inputs=inputs,
        settings=settings,
        times=times,
        computed=_computed(net, times, settings, inputs.pictures[0].shape[:2]),
        words=words,
        silence=net.silent_keys() if mute else None,
        colors=color_stats(first / 2 + 0.5),
    )


@torch.inference_mode()
def window(models: Models, job: Job, index: int, prefix: Tensor | None, tick: Tick) -> Made:
    """Return the frames of one window, which goes on from the `prefix` that the last one left.

    `tick(step, steps)` is called before the first step and after each. The first window has no
    prefix: it begins with the picture itself.
    """
    known = _known(models, job, index)
    prefix = known[:, :1] if prefix is None else prefix.to(known.device)
    noise = _noise(job, index, known).to(known.device)
    told = _conditions(models, job, index, known)
    latents = denoise(models.transformer, job, told, (noise, prefix), tick)
    return decode(models, job, index, latents, tick)


def denoise(
    net: InfiniteTalkTransformer,
    job: Job,
    conditions: Conditions,
    start: tuple[Tensor, Tensor],
    tick: Tick,
) -> Tensor:
    """Return the clean latents f32 (16, t, h, w) from noise and what is known of them."""
    averages = Averages()

    def guided(outputs: Mapping[Pass, Tensor]) -> Tensor:
        nonlocal averages
        velocity, averages = _guided(outputs, job.settings, averages)
        return velocity

    steps = Steps(job.times, job.computed)
    return sampling.denoise(net, conditions, steps, guided, start, tick)


def decode(models: Models, job: Job, index: int, latents: Tensor, tick: Tick) -> Made:
    """Return the frames of a window's latents, and what the next window goes on from.

    Frames that nobody wants are not decoded. `tick(steps, steps)` is called now and then.
    """
    windows, steps = job.inputs.windows, job.settings.steps
    seen, fresh = windows[index].seen, windows[index].fresh
    overlap = windows[index + 1].seen if index + 1 < len(windows) else 0
    # The pieces have no name here: a decoder holds gigabytes for as long as anything refers to it
    # (in Python 3.12.3 also once it is closed), and encoding comes next.
    frames, last = sampling.collect(
        shown(models, job, latents), seen, fresh, overlap, lambda: tick(steps, steps)
    )
    prefix = None
    if last is not None:
        # the next window sees the frames as they are shown, in the job's colours
        video = (last * 2 - 1).transpose(0, 1)
        prefix = wan_vae.encode(models.vae, video, tiles=job.settings.tiles)
    return Made(frames, latents, prefix)


def shown(models: Models, job: Job, latents: Tensor) -> Iterator[Tensor]:
    """Yield the frames of latents f32 (16, t, h, w) in order, f32 (n, 3, h, w) in 0..1.

    A few at a time, their colours held to the job's.
    """
    for piece in wan_vae.decode(models.vae, latents, job.settings.tiles):
        frames = piece.transpose(0, 1) / 2 + 0.5
        yield match_color(frames, job.colors, job.settings.color_strength)


def generate(
    models: Models, inputs: Inputs, settings: Settings, state: Arrays | None, tick: Tick
) -> Iterator[tuple[Frames, Arrays]]:
    """Yield each window's new frames, and the state from which the next one goes on.

    Goes on from `state`, or begins. `tick(done, total)` counts in frames of the video.
    """
    made = chunks(inputs.windows)
    begin = int(state["window"]) if state else 0
    if begin == len(inputs.windows):
        return
    tick(sum(made[:begin]), sum(made))
    make = partial(window, models, ready(models, inputs, settings))
    yield from sampling.each_window(made, state, make, tick)


def _passes(settings: Settings) -> tuple[Pass, ...]:
    return passes_needed(settings.guidance, projected=settings.projection is not None)


def _computed(
    net: InfiniteTalkTransformer, times: Tensor, settings: Settings, size: tuple[int, ...]
) -> tuple[bool, ...]:
    """Return for every step whether its blocks are computed."""
    if settings.teacache_threshold is None:
        return (True,) * settings.steps
    _, modulations = net.time(times[:-1].to(net.device))
    coefficients = stepcache.coefficients_for(*size)
    return stepcache.decide(modulations, coefficients, settings.teacache_threshold)


def _known(models: Models, job: Job, index: int) -> Tensor:
    """Return the latents (16, t, h, w) of a window's picture with grey after it."""
    windows, pictures = job.inputs.windows, job.inputs.pictures
    picture = pixels(pictures[min(index, len(pictures) - 1)])
    longest = max(window.size for window in windows)
    latents = models.stills.encode(picture, longest, job.settings.tiles)
    # what a frame becomes depends on those before it alone: a short window's are the first of them
    return latents[:, : latent_frames(windows[index].size)]


def _conditions(models: Models, job: Job, index: int, known: Tensor) -> Conditions:
    """Return what each pass of a window is told."""
    net, inputs = models.transformer, job.inputs
    span = inputs.windows[index]
    heard = audio_windows(inputs.speech, span.start, span.size).to(net.device)
    speech = _louder(net.audio_keys(heard), job.settings.audio_scale)
    look = net.image_keys(_batch(net, inputs.looks[min(index, len(inputs.looks) - 1)]))
    y = condition(known)[None]
    voiced = net.condition(y, job.words[True], look, speech, inputs.masks)
    # silence comes from one speaker, so that there is nobody to tell apart
    mute = net.condition(y, job.words[True], look, job.silence) if job.silence else voiced
    return {
        name: replace(voiced if name in VOICED else mute, text=job.words[name in WORDED])
        for name in _passes(job.settings)
    }


def _louder(speech: Keys, scale: float) -> Keys:
    """Return keys and values of speech, the values times a strength."""
    if scale == 1:
        return speech
    return tuple(KeyValue(pair.key, pair.value * scale) for pair in speech)


def _noise(job: Job, index: int, known: Tensor) -> Tensor:
    """Return the noise f32 (16, t, h, w) that a window starts from."""
    shape = known.shape[0], known.shape[2], known.shape[3]
    settings, windows = job.settings, job.inputs.windows
    if settings.upstream.one_generator:
        return official_noise(settings.seed, index, windows, shape, settings.steps)
    return window_noise(settings.seed, index, windows[index].size, shape)


def _guided(
    outputs: Mapping[Pass, Tensor], settings: Settings, averages: Averages
) -> tuple[Tensor, Averages]:
    if settings.projection is None:
        return combine(outputs, settings.guidance), averages
    return combine_projected(outputs, settings.guidance, settings.projection, averages)


def _batch(net: InfiniteTalkTransformer, tokens: Tensor) -> Tensor:
    """Return tokens (n, dim) as a batch of one, where the network is."""
    return tokens[None].to(net.device)
