"""Offline evaluation of trained models on real data."""
