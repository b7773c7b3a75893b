"""Turn cuDNN off as soon as torch is imported: GB10 (sm_121) has no cuDNN conv3d kernels.

Python imports `sitecustomize` at start-up. Importing torch here would slow every process of the
container, so an import hook waits until somebody else imports it.
"""

import importlib.abc
import importlib.util
import sys


class _DisableCudnn(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name, path=None, target=None):
        if name != "torch":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is None or spec.loader is None:
            return None
        self._loader = spec.loader
        spec.loader = self
        return spec

    def create_module(self, spec):
        return self._loader.create_module(spec)

    def exec_module(self, module):
        self._loader.exec_module(module)
        module.backends.cudnn.enabled = False


sys.meta_path.insert(0, _DisableCudnn())
