"""Files of still pictures: which are taken, what their headers say, and their samples as 8 bits."""

from __future__ import annotations

from sender.sources.pictures.file import StillPage, is_picture, page_headers, pages
from sender.sources.pictures.formats import SUFFIXES
from sender.sources.pictures.header import PageHeader

__all__ = ["SUFFIXES", "PageHeader", "StillPage", "is_picture", "page_headers", "pages"]
