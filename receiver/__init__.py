"""The receiving end: receive -> open -> decode -> show, record, hand over."""

# PyAV's and OpenCV's wheels each bring libraries of the X window system.  Where PyAV's are loaded
# first, the first window that OpenCV opens hangs; so OpenCV comes before everything else here.
import cv2  # noqa: F401
