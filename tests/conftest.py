"""No example of a property test fails for taking long: machines are busy."""

from hypothesis import settings

settings.register_profile("fairstow", deadline=None)
settings.load_profile("fairstow")
