"""Runs that are killed, damaged, starved of disk and stopped on purpose: see chaos.py."""
