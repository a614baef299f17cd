"""The handler that the Hub looks for: the same as `talkhead worker`, which the image runs.

`runpod.serverless.start` is called in src/talkhead/serve/runpod.py.
"""

from talkhead.serve import working

if __name__ == "__main__":
    working.work(tied=False)
