"""What is used of Lightning, whose import takes seconds; or one sentence, where it is missing, on how it comes."""

try:
    import pytorch_lightning as lightning
    from lightning_fabric.plugins.environments.lightning import LightningEnvironment
    from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO
    from pytorch_lightning.callbacks import Callback, ModelCheckpoint
    from pytorch_lightning.loggers import Logger
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"{error.name} is not installed, which training needs: pip install 'rddrs[pipeline]'", name=error.name
    ) from None

__all__ = ["Callback", "LightningEnvironment", "Logger", "ModelCheckpoint", "TorchCheckpointIO", "lightning"]
