"""Assets shared by the pages of both programs: vendored scripts, a stylesheet, static files, safe headers."""

from web_assets.assets import Assets, takes_gzip
from web_assets.headers import page_headers
from web_assets.icons import icon
from web_assets.styleguide import styleguide

__all__ = ["Assets", "icon", "page_headers", "styleguide", "takes_gzip"]
