"""Other ways to send live pictures, each as two programs, to be measured beside Veilscope.

Every rival gets the same pictures at the same moments, over the same network, on the same machine,
and its latency is read from the strip (`shared.strip`) in the picture that comes out.
"""
