"""The sizes that the network was trained at.

InfiniteTalk (MeiGen-AI, arXiv 2508.14033; official code commit 0107cd9).
"""

from talkhead.engines import Bucket

BUCKETS_480 = (
    Bucket(0.26, 320, 1216),
    Bucket(0.38, 384, 1024),
    Bucket(0.50, 448, 896),
    Bucket(0.67, 512, 768),
    Bucket(0.82, 576, 704),
    Bucket(1.00, 640, 640),
    Bucket(1.22, 704, 576),
    Bucket(1.50, 768, 512),
    Bucket(1.86, 832, 448),
    Bucket(2.00, 896, 448),
    Bucket(2.50, 960, 384),
    Bucket(2.83, 1088, 384),
    Bucket(3.60, 1152, 320),
    Bucket(3.80, 1216, 320),
    Bucket(4.00, 1280, 320),
)
BUCKETS_720 = (
    Bucket(0.22, 448, 2048),
    Bucket(0.29, 512, 1792),
    Bucket(0.36, 576, 1600),
    Bucket(0.45, 640, 1408),
    Bucket(0.55, 704, 1280),
    Bucket(0.63, 768, 1216),
    Bucket(0.76, 832, 1088),
    Bucket(0.88, 896, 1024),
    Bucket(1.00, 960, 960),
    Bucket(1.14, 1024, 896),
    Bucket(1.31, 1088, 832),
    Bucket(1.50, 1152, 768),
    Bucket(1.58, 1216, 768),
    Bucket(1.82, 1280, 704),
    Bucket(1.91, 1344, 704),
    Bucket(2.20, 1408, 640),
    Bucket(2.30, 1472, 640),
    Bucket(2.67, 1536, 576),
    Bucket(2.89, 1664, 576),
    Bucket(3.62, 1856, 512),
    Bucket(3.75, 1920, 512),
)
