"""Assets shared by the pages of both programs: vendored scripts, a stylesheet, static files, safe headers."""

from web_assets.assets import Assets
from web_assets.headers import page_headers

__all__ = ["Assets", "page_headers"]
