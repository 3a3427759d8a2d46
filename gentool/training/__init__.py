"""The one training loop and what it stands on; knows of models only what `models/base.py` says."""
