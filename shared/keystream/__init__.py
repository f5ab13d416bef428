"""The learned keystream: an integer network in counter mode, prepared ahead of the frames.

`network` loads the public weights, `backend` opens the fastest implementation that proves itself,
`ahead` prepares the pads of coming frames.  `reference` is the definition, in NumPy int64; the
page docs/KEYSTREAM.md says the same in words.  No security is claimed for these bytes: they are
XORed under AES-256-GCM, on which confidentiality and integrity rest.
"""
