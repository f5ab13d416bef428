"""What is hidden of a picture before anything else sees it: rectangles, and letters that are found.

`masking` decides for each picture; `rectangles` paints, `textfinder` finds letters in one picture,
and `textwatch` has it look beside the stream, remembering by `textplaces`.
"""
