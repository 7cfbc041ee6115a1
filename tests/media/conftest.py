"""Videos, folders and zips of frames made for the tests."""

from tests.made_videos import pan, write_folder, write_video, write_zip

__all__ = ["pan", "write_folder", "write_video", "write_zip"]
