"""Building blocks and networks in PyTorch; importing this package imports torch."""

from __future__ import annotations

from nasx.errors import require

require("torch", "nasx.nn", "torch")

from nasx.nn.blocks import OPERATIONS, Classifier, ConvBlock  # noqa: E402 - after the check that torch is there
from nasx.nn.choices import ChosenInputs, InputChoice, LayerChoice  # noqa: E402
from nasx.nn.convnet import ConvNetModule  # noqa: E402
from nasx.nn.darts import DARTSCell, DARTSModule, darts_block, darts_operation  # noqa: E402
from nasx.nn.darts_supernet import DARTSSupernet  # noqa: E402
from nasx.nn.drop_path import DropPath  # noqa: E402
from nasx.nn.elastic import ElasticBatchNorm2d, ElasticConv2d, ElasticLinear, ElasticRepeat  # noqa: E402
from nasx.nn.elastic_sequence import ElasticDepthwiseConv1d, ElasticEmbedding, ElasticLayerNorm  # noqa: E402
from nasx.nn.enas_cell import ENASCellModule  # noqa: E402
from nasx.nn.enas_macro import ENASMacroModule, enas_layer  # noqa: E402
from nasx.nn.enas_supernet import ENASCellSupernet, ENASMacroSupernet  # noqa: E402
from nasx.nn.evolved import EvolvedModule  # noqa: E402
from nasx.nn.export import plain, to_onnx  # noqa: E402
from nasx.nn.few_shot import FewShotSupernet  # noqa: E402
from nasx.nn.mixed import MixedOp, PartialChannels, Zero  # noqa: E402
from nasx.nn.mobile import MobileModule, MobileSupernet, MobileUnit, mobile_block, mobile_unit  # noqa: E402
from nasx.nn.module_supernet import ModuleSupernet  # noqa: E402
from nasx.nn.nasbench201 import NASBench201Cell, NASBench201Module, nasbench201_block  # noqa: E402
from nasx.nn.nasbench201_supernet import NASBench201Supernet  # noqa: E402
from nasx.nn.recalibration import recalibrate  # noqa: E402
from nasx.nn.saved import load_network, save_network  # noqa: E402
from nasx.nn.shufflenet import (  # noqa: E402
    ShuffleNetV2Module,
    ShuffleNetV2Supernet,
    ShuffleUnit,
    shufflenet_block,
)
from nasx.nn.sizes import ChosenSize, Elastic, ElasticProduct  # noqa: E402
from nasx.nn.supernet import EdgeChoices, Supernet  # noqa: E402
from nasx.nn.transformer import (  # noqa: E402
    Attention,
    TimeConvolution,
    TransformerBranch,
    TransformerModule,
    TransformerSupernet,
    transformer_block,
    transformer_branch,
)

__all__ = [
    "OPERATIONS",
    "Attention",
    "ChosenInputs",
    "ChosenSize",
    "Classifier",
    "ConvBlock",
    "ConvNetModule",
    "DARTSCell",
    "DARTSModule",
    "DARTSSupernet",
    "DropPath",
    "ENASCellModule",
    "ENASCellSupernet",
    "ENASMacroModule",
    "ENASMacroSupernet",
    "EdgeChoices",
    "Elastic",
    "ElasticBatchNorm2d",
    "ElasticConv2d",
    "ElasticDepthwiseConv1d",
    "ElasticEmbedding",
    "ElasticLayerNorm",
    "ElasticLinear",
    "ElasticProduct",
    "ElasticRepeat",
    "EvolvedModule",
    "FewShotSupernet",
    "InputChoice",
    "LayerChoice",
    "MixedOp",
    "MobileModule",
    "MobileSupernet",
    "MobileUnit",
    "ModuleSupernet",
    "NASBench201Cell",
    "NASBench201Module",
    "NASBench201Supernet",
    "PartialChannels",
    "ShuffleNetV2Module",
    "ShuffleNetV2Supernet",
    "ShuffleUnit",
    "Supernet",
    "TimeConvolution",
    "TransformerBranch",
    "TransformerModule",
    "TransformerSupernet",
    "Zero",
    "darts_block",
    "darts_operation",
    "enas_layer",
    "load_network",
    "mobile_block",
    "mobile_unit",
    "nasbench201_block",
    "plain",
    "recalibrate",
    "save_network",
    "shufflenet_block",
    "to_onnx",
    "transformer_block",
    "transformer_branch",
]
