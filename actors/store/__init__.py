"""Stores: the journal and its projections, behind one protocol."""
