"""Wire contracts of the suite (packages ``foryou.<part>.v1``) and the modules generated from them.

Regenerate with ``uv run python -m protos.generate``; ``--check`` fails when they have drifted.
"""
