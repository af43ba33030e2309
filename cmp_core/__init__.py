"""cmp: see, layer by layer, what a neural network has learned.

The names that plugins and notebooks need are listed in `__init__.pyi`. Each is imported when it is
first used, so that importing `cmp_core` stays quick and does not import torch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
