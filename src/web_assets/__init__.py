"""What the pages of both programs share: vendored scripts, one stylesheet, static files, safe headers."""

from web_assets.assets import Assets
from web_assets.headers import page_headers

__all__ = ["Assets", "page_headers"]
