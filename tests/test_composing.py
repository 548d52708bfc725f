"""Configs of tests are those of Hydra."""

import pytest
from hydra.errors import ConfigCompositionException, HydraException
from omegaconf import DictConfig, OmegaConf

from composing import composed, composed_by_hydra


@pytest.mark.parametrize(
    "line",
    [
        "evaluate",
        "evaluate data=folder data.root=/a data.classes=[a,1] method=[padim,cflow] shots=3",
        "evaluate method=glass method.glass.epochs=2 +method.glass.more.a=1 ~tsne cache=null",
        "evaluate +method.cflow.pretrained.epochs=2 method=[cflow,cflow_quick] title=${run_name}",
        "evaluate method={padim:{epsilon:1}} shots=2",
        "evaluate data@train_data=visa train_data.image_size=48 +backbone.mean=[0,0,0] ++seed=0x1",
        "train model=published data=mixed +data@data.sets.visa=visa data.sets.visa.root=/a",
        "train +experiment=demo trainer=cpu ~callbacks.progress logger=csv run_name='a b'",
        "train backbone=timm backbone.name=resnet18 hydra.run.dir=/a callbacks.progress=null",
        "predict fit=good quantile=null data.resize=[256,320]",
        "report results=[a,b]",
    ],
)
def test_it_is_the_config_that_hydra_composes(line: str) -> None:
    def told(config: DictConfig) -> tuple[str, object, object]:
        flags = [config._get_flag(name) for name in ("struct", "readonly")]
        return OmegaConf.to_yaml(config), OmegaConf.to_container(config), flags

    primary, *words = line.split(" ") if "'" not in line else [*line.split(" ", 5)]
    hydras = told(composed_by_hydra(primary, *words))
    first = composed(primary, *words)
    assert told(first) == hydras
    OmegaConf.set_struct(first, False)
    for name in [*first]:
        first[name] = "changed"
    assert told(composed(primary, *words)) == hydras


@pytest.mark.parametrize(
    "line",
    [
        "evaluate shotts=3", "evaluate data=nowhere", "evaluate +shots=3", "evaluate ~nothing",
        "evaluate shots=1,2", "evaluate data=visa,mvtec", "evaluate +data=visa", "evaluate shots=[",
        "evaluate data.root.deep=3", "nothing",
    ],
)  # fmt: skip
def test_what_hydra_refuses_is_refused_in_its_words(line: str) -> None:
    primary, *words = line.split()
    said = []
    for compose in (composed_by_hydra, composed):
        with pytest.raises((HydraException, ConfigCompositionException)) as caught:
            compose(primary, *words)
        said.append((type(caught.value), str(caught.value)))
    assert said[0] == said[1]
