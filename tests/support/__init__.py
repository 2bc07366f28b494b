"""Makers of small inputs that several test folders share."""
