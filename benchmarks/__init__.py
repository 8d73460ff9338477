"""Measurements, each with its date, machine, command, n and spread; never part of the tests."""
