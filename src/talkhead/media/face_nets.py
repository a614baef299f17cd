"""The bundled face nets (MediaPipe's face landmarker, Apache-2.0): loading and fixed tables."""

import hashlib
from importlib import resources

import cv2
import numpy as np
from numpy.typing import NDArray

from talkhead.errors import Code, TalkheadError

SHA256 = {
    "face_detector": "b4578f35940bf5a1a655214a1cce5cab13eba73c1297cd78e1a04c2380b0152f",
    "face_landmarks_detector": "c7d54204ce0448474c7f3fa9af494787c0965cbdd6f20fc72867e43046bd43d5",
    "face_blendshapes": "4f36dded049db18d76048567439b2a7f58f1daabc00d78bfe8f3ad396a2d2082",
}


_NAMES = """
_neutral browDownLeft browDownRight browInnerUp browOuterUpLeft browOuterUpRight cheekPuff
cheekSquintLeft cheekSquintRight eyeBlinkLeft eyeBlinkRight eyeLookDownLeft eyeLookDownRight
eyeLookInLeft eyeLookInRight eyeLookOutLeft eyeLookOutRight eyeLookUpLeft eyeLookUpRight
eyeSquintLeft eyeSquintRight eyeWideLeft eyeWideRight jawForward jawLeft jawOpen jawRight
mouthClose mouthDimpleLeft mouthDimpleRight mouthFrownLeft mouthFrownRight mouthFunnel mouthLeft
mouthLowerDownLeft mouthLowerDownRight mouthPressLeft mouthPressRight mouthPucker mouthRight
mouthRollLower mouthRollUpper mouthShrugLower mouthShrugUpper mouthSmileLeft mouthSmileRight
mouthStretchLeft mouthStretchRight mouthUpperUpLeft mouthUpperUpRight noseSneerLeft
noseSneerRight
"""
BLENDSHAPE_NAMES = tuple(_NAMES.split())

# The landmarks that the blendshape net looks at, in its order (MediaPipe, kLandmarksSubsetIdxs).
_SUBSET = """
0 1 4 5 6 7 8 10 13 14 17 21 33 37 39 40 46 52 53 54 55 58 61 63 65 66 67 70 78 80 81 82 84 87
88 91 93 95 103 105 107 109 127 132 133 136 144 145 146 148 149 150 152 153 154 155 157 158 159
160 161 162 163 168 172 173 176 178 181 185 191 195 197 234 246 249 251 263 267 269 270 276 282
283 284 285 288 291 293 295 296 297 300 308 310 311 312 314 317 318 321 323 324 332 334 336 338
356 361 362 365 373 374 375 377 378 379 380 381 382 384 385 386 387 388 389 390 397 398 400 402
405 409 415 454 466 468 469 470 471 472 473 474 475 476 477
"""
BLENDSHAPE_LANDMARKS = np.array([int(number) for number in _SUBSET.split()], dtype=np.intp)


def load_net(name: str) -> cv2.dnn.Net:
    """Read one of the bundled nets, after checking that it is the file that we shipped."""
    asset = resources.files("talkhead.assets").joinpath("face_landmarker", f"{name}.tflite")
    with resources.as_file(asset) as path:
        data = path.read_bytes()
        if hashlib.sha256(data).hexdigest() != SHA256[name]:
            raise TalkheadError(
                Code.WEIGHTS,
                f"the bundled face model {name}.tflite is damaged ({len(data)} bytes)",
                "Reinstall the package: pip install --force-reinstall talkhead",
            )
        # OpenCV 5's own engine shows only one output of these nets and gives a wrong tensor for
        # the second; OpenCV 4 has the classic engine alone. Read by path: from a buffer OpenCV 5
        # ignores the choice.
        classic = getattr(cv2.dnn, "ENGINE_CLASSIC", None)
        if classic is None:
            return cv2.dnn.readNetFromTFLite(str(path))
        return cv2.dnn.readNetFromTFLite(str(path), classic)


def anchors() -> NDArray[np.float64]:
    """Return the detector's anchor centres, (896, 2) from 0 to 1."""
    layers = []
    for cells, repeats in ((16, 2), (8, 6)):
        y, x = np.mgrid[0:cells, 0:cells]
        centers = np.stack([x, y], axis=-1).reshape(-1, 2)
        layers.append(np.repeat((centers + 0.5) / cells, repeats, axis=0))
    return np.concatenate(layers)
