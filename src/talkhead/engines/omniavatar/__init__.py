"""OmniAvatar: a portrait speaks, on Wan 2.1 text-to-video. Needs weights and a GPU."""
