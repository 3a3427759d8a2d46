"""The laws a model's capabilities claim, as `gentool verify` holds a trained checkpoint to them.

A law is a function of a `Subject` that returns what it measured, raises `Broken` where it does not hold and `Untried`
where it cannot be tried. Which laws a model is held to follows from the protocols it implements, never from its name.
"""

from gentool.laws.book import LAWS, Law, Verdict, verify
from gentool.laws.subject import Broken, Subject, Untried, examples

__all__ = ["LAWS", "Broken", "Law", "Subject", "Untried", "Verdict", "examples", "verify"]
