"""The link's transport over WebRTC: aiortc and aioice, and all that is asked of them.

Private names of the two libraries are used in this package and nowhere else.
"""
