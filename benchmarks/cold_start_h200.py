"""InfiniteTalk's cold start: seconds from process start to the first segment, and what they are.

Writes an installation of full size from random weights in official layout (base in parts, adapter,
LoRA, VAE, CLIP, wav2vec2; the prompt encoded before, as in a bundle without text encoder), then
starts a process for each case: the engine itself plans, prepares and makes the first window, and
then that of another job in the same process, which is what a warm-up leaves to wait for. Memory
of the host is what is not mapped from files. docs/engines/infinitetalk.md quotes the results.

PYTHONPATH=src:tests python benchmarks/cold_start_h200.py FOLDER [--cases a,b]
"""

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

BEGUN = float(os.environ.get("BEGUN", "0"))  # when this process was asked for

CASES = {  # by name: compiled, options and memory of the request, whether the page cache is emptied
    "load": (False, {"lora": "none"}, {}, True),
    "compile": (True, {}, {}, False),
    "compiled": (True, {}, {}, False),
    "eager": (False, {}, {}, False),
    "fp8": (True, {}, {"quant": "fp8"}, False),
    "offload": (True, {}, {"offload": "block"}, False),
}
AGAIN = ("compile",)  # where another job follows in the same process
SIZE, PROMPT = (640, 640), "a person is talking"
PART = 5_000_000_000  # bytes, about


def write(folder: Path, sizes: dict[str, Any]) -> dict[str, list[str]]:
    """Write an installation; return its files by id. `sizes` are the transformer's."""
    import torch
    from diffusers import AutoencoderKLWan
    from safetensors.torch import save_file
    from support import infinitetalk, wan
    from transformers import Wav2Vec2Config, Wav2Vec2Model

    from talkhead.engines.infinitetalk.transformer import InfiniteTalkTransformer
    from talkhead.models import embeddings

    device = "cuda" if torch.cuda.is_available() else "cpu"
    with torch.device("meta"):
        net = InfiniteTalkTransformer(**sizes)
    slots = net.state_dict()
    names = {key: slots[ours].shape for ours, key in infinitetalk.official_names(net).items()}

    def random(key: str, shape: torch.Size) -> Any:
        value = torch.randn(shape, device=device, dtype=torch.bfloat16) * 0.02
        return (value + 1 if key.endswith(infinitetalk.NORMS) else value).cpu()

    def part(keys: list[str], name: str) -> str:
        save_file({key: random(key, names[key]) for key in keys}, folder / name)
        return str(folder / name)

    folder.mkdir(parents=True, exist_ok=True)
    base, adapter = [], [key for key in names if infinitetalk.adapter_name(key)]
    waiting: list[str] = []
    for key in [key for key in names if key not in set(adapter)]:
        waiting.append(key)
        if sum(2 * names[one].numel() for one in waiting) > PART:
            base.append(part(waiting, f"base-{len(base)}.safetensors"))
            waiting = []
    if waiting:
        base.append(part(waiting, f"base-{len(base)}.safetensors"))
    lora = {}
    for index in range(sizes.get("num_layers", 40)):
        for name in ("self_attn.q", "self_attn.k", "self_attn.v", "self_attn.o", "ffn.0", "ffn.2"):
            out, given = names[f"blocks.{index}.{name}.weight"]
            layer = f"diffusion_model.blocks.{index}.{name}"
            lora[f"{layer}.lora_down.weight"] = random("", torch.Size((64, given)))
            lora[f"{layer}.lora_up.weight"] = random("", torch.Size((out, 64)))
    save_file(lora, folder / "lora.safetensors")
    clip = wan.official_clip(sizes.get("image_dim", 1280), 32, 14, 16)
    vae = AutoencoderKLWan()
    heard = Wav2Vec2Config()
    embeddings.keep(folder / "prompts", f"umt5-xxl {torch.bfloat16}", PROMPT, torch.randn(20, 4096))
    embeddings.keep(folder / "prompts", f"umt5-xxl {torch.float32}", PROMPT, torch.randn(20, 4096))

    def said(content: object, name: str) -> str:
        (folder / name).write_text(json.dumps(content))
        return str(folder / name)

    def saved(tensors: dict[str, Any], name: str) -> str:
        return str(wan.saved({k: v.to(torch.bfloat16) for k, v in tensors.items()}, folder / name))

    return {
        "wan-i2v": base,
        "wan-i2v-config": [said({"num_heads": sizes.get("num_attention_heads", 40)}, "c.json")],
        "infinitetalk-single-adapter": [part(adapter, "adapter.safetensors")],
        "lightx2v-i2v-rank64": [str(folder / "lora.safetensors")],
        "wan-vae-comfy": [saved(wan.official_vae(vae), "vae.safetensors")],
        "clip-vision-h": [saved(clip, "clip.safetensors")],
        "wav2vec2-zh": [saved(Wav2Vec2Model(heard).state_dict(), "wav2vec2.safetensors")],
        "wav2vec2-zh-config": [said(heard.to_dict(), "wav2vec2.json")],
    }


class Memory:
    """The most host memory of this process that is not mapped from files."""

    def __init__(self) -> None:
        self.most = 0.0
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while True:
            lines = Path("/proc/self/status").read_text().splitlines()
            found = {line.split(":")[0]: line.split()[1] for line in lines if line.endswith("kB")}
            own = int(found["RssAnon"]) + int(found["RssShmem"])
            self.most = max(self.most, own * 1024 / 1e9)
            time.sleep(0.02)


class Clock:
    """Seconds since the process was asked for, by what was done until then."""

    def __init__(self) -> None:
        self.last = BEGUN
        self.parts: dict[str, float] = {}

    def mark(self, name: str) -> None:
        now = time.time()
        self.parts[name] = round(now - self.last, 2)
        self.last = now


def case(folder: Path, name: str, size: tuple[int, int]) -> dict[str, Any]:
    """Run one case in this process; return what was measured."""
    memory, clock = Memory(), Clock()
    clock.mark("interpreter")
    import numpy as np
    import torch

    from talkhead.engines import Fitting, Inputs, Probe, Speaker, Supplies
    from talkhead.engines.infinitetalk import InfiniteTalk, checkpoint, pipeline  # noqa: F401
    from talkhead.engines.infinitetalk.options import Options
    from talkhead.errors import Code, TalkheadError

    clock.mark("imports")
    if torch.cuda.is_available():
        torch.zeros(1, device="cuda")
    clock.mark("cuda")
    compiled, options, fitting, _ = CASES[name]
    files = json.loads((folder / "files.json").read_text())

    def find(*ids: str) -> tuple[Path, ...]:
        for one in ids:
            if one in files:
                return tuple(map(Path, files[one]))
        raise TalkheadError(Code.WEIGHTS, f"{ids[0]} is not there", "")

    supplies = Supplies(find, lambda paths: str(len(paths)), (folder / "prompts",),
                        compiled=compiled)  # fmt: skip
    load = checkpoint.load_models
    took: dict[str, float] = {}

    def timed_load(*given: Any) -> Any:
        start = time.time()
        models = load(*given)
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        took["load"] = time.time() - start
        took["host_gb"] = memory.most
        return models

    checkpoint.load_models = timed_load
    engine = InfiniteTalk(supplies)
    fit = Fitting(**fitting)
    asked = Options(**options)
    probe = Probe(*size, Fraction(25), 81, (), 3.24, False, options=asked,
                  sampling={"steps": 4}, quality="fast", memory=fit)  # fmt: skip
    lines: dict[str, Any] = {}
    for job in ("first", "next") if name in AGAIN else ("first",):
        steps: list[tuple[int, float]] = []
        plan = engine.plan(probe)
        clock.mark("plan")
        speech = np.random.default_rng(1).normal(0, 0.1, 51_840).astype(np.float32)
        picture = np.random.default_rng(2).integers(0, 256, (size[1], size[0], 3), np.uint8)
        given = Inputs(picture, (Speaker(speech, None),), 5, prompt=PROMPT, sampling=probe.sampling,
                       options=asked, quality="fast", memory=fit)  # fmt: skip
        prepared = engine.prepare(given, plan, lambda *_: None)
        clock.mark("prepare")
        took.clear()

        def tick(done: int, _total: int, steps: list[tuple[int, float]] = steps) -> None:
            if done and (not steps or steps[-1][0] != done):
                if torch.cuda.is_available():
                    torch.cuda.synchronize()
                steps.append((done, time.time()))

        next(engine.generate(prepared, plan, tick, None))
        end = time.time()
        whole = end - clock.last
        apart = [b[1] - a[1] for a, b in zip(steps, steps[1:], strict=False)][:3]
        step = sorted(apart)[len(apart) // 2]
        first = steps[0][1] - clock.last - took.get("load", 0)
        lines[job] = {
            **clock.parts,
            "load": round(took.get("load", 0), 2),
            "before_second_step": round(first - step, 2),  # compilation, conditions
            "window": round(whole - took.get("load", 0) - (first - step), 2),
            "step": round(step, 2),
        }
        if job == "first":
            lines["to_first_segment"] = round(end - BEGUN, 1)
            lines["host_peak_while_loading_gb"] = round(took["host_gb"], 2)
        else:
            lines["to_first_segment_when_warm"] = round(sum(clock.parts.values()) + whole, 1)
        clock.parts, clock.last = {}, time.time()
    lines["host_peak_gb"] = round(memory.most, 2)
    if torch.cuda.is_available():
        lines["gpu_peak_gb"] = round(torch.cuda.max_memory_allocated() / 1e9, 2)
        lines["predicted_gb"] = round(plan.memory_bytes / 1e9, 2)
    return lines


def drop_cache() -> bool:
    """Empty the page cache; return whether that was allowed."""
    os.sync()
    try:
        Path("/proc/sys/vm/drop_caches").write_text("3")
    except OSError:
        return False
    return True


def run(folder: Path, names: list[str], size: tuple[int, int]) -> Iterator[dict[str, Any]]:
    """Yield what each case's process measured."""
    for name in names:
        cold = drop_cache() if CASES[name][3] else False
        environment = {**os.environ, "TORCHINDUCTOR_CACHE_DIR": str(folder / "compiled")}
        environment["BEGUN"] = str(time.time())
        command = [sys.executable, __file__, str(folder), "--child", name,
                   "--size", "{}x{}".format(*size)]  # fmt: skip
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            yield {"case": name, "error": done.stderr[-1500:]}
            continue
        yield {"case": name, "page_cache_emptied": cold, **json.loads(done.stdout.splitlines()[-1])}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--cases", default=",".join(CASES))
    parser.add_argument("--child")
    parser.add_argument("--size", default="{}x{}".format(*SIZE))
    parser.add_argument("--sizes", default="{}", help="of the transformer, as JSON, for a trial")
    parser.add_argument("--out", help="write all lines to this file as JSON")
    given = parser.parse_args()
    width, height = map(int, given.size.split("x"))
    if given.child:
        print(json.dumps(case(given.folder, given.child, (width, height))))
        return
    from _machine import facts

    lines: list[dict[str, Any]] = []

    def say(**values: Any) -> None:
        lines.append(values)
        print(json.dumps(values), flush=True)
        if given.out:
            Path(given.out).write_text(json.dumps(lines, indent=1))

    say(**facts())
    start = time.time()
    index = given.folder / "files.json"
    if not index.exists():
        files = write(given.folder, json.loads(given.sizes))
        index.write_text(json.dumps(files))
    sides = {name: sum(Path(file).stat().st_size for file in found)
             for name, found in json.loads(index.read_text()).items()}  # fmt: skip
    checkpoint = sides["wan-i2v"] + sides["infinitetalk-single-adapter"]
    say(written_s=round(time.time() - start, 1), checkpoint_gb=round(checkpoint / 1e9, 2))
    for line in run(given.folder, given.cases.split(","), (width, height)):
        say(**line)


if __name__ == "__main__":
    main()
