"""Reading and writing media. Everything goes through PyAV and Pillow; nothing calls ffmpeg."""
