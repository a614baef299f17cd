"""OmniAvatar: a portrait speaks and moves by a text-to-video model that hears speech.

OmniAvatar (arXiv 2506.18866; official code commit 1536bf3). Parts only so far: no engine yet.
"""
