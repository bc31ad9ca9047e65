"""Frames and the transports that carry them. Importing any of it prepares the environment that Ray is imported in."""

from lightning_state.actors.wire.ray_environment import prepare

prepare()
