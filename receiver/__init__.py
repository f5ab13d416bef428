"""The receiving end: receive -> open -> decode -> show, record, hand over."""
