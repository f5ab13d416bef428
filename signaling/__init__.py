"""The rendezvous: where a sender and its receivers find each other.

It relays offers and answers between the sender of a room and that room's receivers, and nothing
else.  It never sees a key, a code's secret or a picture, and nothing rests on it being honest.
It runs without the packages that handle pictures, networks or WebRTC.
"""
