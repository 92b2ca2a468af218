from .build import pretrained_models as pretrained_models
from .cache import cache_folder as cache_folder
from .model import OpenCLIP as OpenCLIP
from .weights import PRECISIONS as PRECISIONS
from .weights import former_settings as former_settings
from .weights import model_name as model_name
from .weights import with_activation as with_activation
