"""LoRA by hand beside peft: outputs, gradients, merged weights and files, on our decoder's twin and on GPT-2."""

from __future__ import annotations

import copy
import json

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel

from course_utils.models.convert import from_llama, save_model, to_llama
from course_utils.models.decoder import Decoder, DecoderConfig
from course_utils.models.embeddings import resize_embeddings
from course_utils.models.generate import generate
from course_utils.models.lora import (
    LoRAConfig,
    LoRALinear,
    active_adapter,
    adapters,
    add_lora,
    base_weights,
    load_lora,
    lora_layers,
    lora_weights,
    merge_lora,
    remove_adapter,
    save_lora,
    use_adapter,
)
from course_utils.training.objectives import next_token_loss

SIZES = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "max_position_embeddings": 64,
}
IDS = torch.randint(6, 64, (3, 11), generator=torch.Generator().manual_seed(0))
BATCH = {"input_ids": IDS, "labels": IDS.clone()}


def decoder() -> Decoder:
    return Decoder(DecoderConfig(**SIZES), seed=1)


def gpt2() -> GPT2LMHeadModel:
    torch.manual_seed(1)
    config = GPT2Config(
        vocab_size=64, n_embd=32, n_layer=2, n_head=2, n_positions=64, resid_pdrop=0, embd_pdrop=0, attn_pdrop=0
    )
    return GPT2LMHeadModel(config)


def stir(model: nn.Module, name: str = "default") -> None:
    """Give B some values, as training would."""
    generator = torch.Generator().manual_seed(5)
    for key, matrix in lora_weights(model, name).items():
        if "lora_B" in key:
            matrix.copy_(torch.randn(matrix.shape, generator=generator) * 0.1)


def with_peft(base: nn.Module, ours: nn.Module, config: LoRAConfig) -> PeftModel:
    """The same adapter through peft, with our matrices."""
    model = get_peft_model(base, LoraConfig(r=config.r, lora_alpha=config.alpha, target_modules=list(config.targets)))
    state = {key.replace(".weight", ".default.weight"): value for key, value in lora_weights(ours).items()}
    missing = model.load_state_dict(state, strict=False)
    assert not missing.unexpected_keys
    return model


CASES = [
    pytest.param(lambda: to_llama(decoder()), LoRAConfig(r=4, alpha=8), id="llama"),
    pytest.param(lambda: to_llama(decoder()), LoRAConfig(r=2, alpha=16, targets=("q_proj", "v_proj")), id="llama-qv"),
    pytest.param(gpt2, LoRAConfig(r=4, alpha=8, targets=("c_attn", "c_proj")), id="gpt2"),
]


@pytest.mark.parametrize(("make", "config"), CASES)
@pytest.mark.filterwarnings("ignore:fan_in_fan_out")
def test_forward_gradients_and_merge_equal_peft(make, config):
    base = make()
    ours = add_lora(copy.deepcopy(base), config)
    stir(ours)
    theirs = with_peft(copy.deepcopy(base), ours, config)
    assert (base(IDS).logits - ours(IDS).logits).abs().max() > 1e-3, "the adapter does nothing"
    torch.testing.assert_close(ours(IDS).logits, theirs(IDS).logits, rtol=1e-6, atol=1e-6)

    next_token_loss(ours, BATCH)[0].backward()
    next_token_loss(theirs, BATCH)[0].backward()
    gradients = {name: p.grad for name, p in theirs.named_parameters() if p.requires_grad}
    compared = 0
    for path, layer in lora_layers(ours):
        for side, matrix in (("lora_A", layer.lora_A["default"]), ("lora_B", layer.lora_B["default"])):
            torch.testing.assert_close(
                matrix.grad, gradients[f"base_model.model.{path}.{side}.default.weight"], rtol=1e-5, atol=1e-6
            )
            compared += 1
    assert compared == len(gradients) > 0

    merged, theirs_merged = merge_lora(ours), theirs.merge_and_unload()
    assert not list(lora_layers(merged))
    torch.testing.assert_close(merged.state_dict(), theirs_merged.state_dict(), rtol=1e-6, atol=1e-6)


def test_initial_distribution_is_pefts():
    """A is drawn from the same range; B is zero, so that nothing changes at first."""
    ours = add_lora(decoder(), LoRAConfig(r=8))
    theirs = get_peft_model(to_llama(decoder()), LoraConfig(r=8, target_modules=["q_proj"]))
    (q,) = {tuple(p.shape) for n, p in theirs.named_parameters() if "q_proj.lora_A" in n}
    drawn = torch.cat([p.flatten() for n, p in theirs.named_parameters() if "q_proj.lora_A" in n]).abs()
    mine = torch.cat(
        [layer.lora_A["default"].flatten() for n, layer in lora_layers(ours) if n.endswith("q_proj")]
    ).abs()
    assert q == (8, 32)
    bound = 32**-0.5
    assert drawn.max() <= bound and mine.max() <= bound and min(drawn.max(), mine.max()) > 0.97 * bound
    assert abs(drawn.mean() - mine.mean()) < 0.1 * bound
    assert torch.equal(ours(IDS).logits, decoder()(IDS).logits)


def test_only_the_adapter_is_trained():
    model = add_lora(decoder(), LoRAConfig(r=4))
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert trained and all("lora_" in name for name in trained)
    count = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert count == sum(4 * sum(layer.sizes) for _, layer in lora_layers(model))


def test_several_adapters_on_one_base():
    model, plain = decoder(), decoder()
    add_lora(model, LoRAConfig(r=2), "first")
    stir(model, "first")
    first = model(IDS).logits
    add_lora(model, LoRAConfig(r=4, targets=("q_proj",)), "second", seed=3)
    assert adapters(model) == ["first", "second"]
    assert torch.equal(model(IDS).logits, plain(IDS).logits), "a new adapter starts at zero, and is the one in use"
    assert {n.rpartition(".")[2] for n, p in model.named_parameters() if p.requires_grad} == {"second"}
    use_adapter(model, "first")
    assert torch.equal(model(IDS).logits, first)
    use_adapter(model, None)
    assert torch.equal(model(IDS).logits, plain(IDS).logits)
    remove_adapter(model, "second")
    use_adapter(model, "first")
    assert adapters(model) == ["first"] and torch.equal(model(IDS).logits, first)
    remove_adapter(model, "first")
    assert not any(isinstance(part, LoRALinear) for part in model.modules())


def test_files_go_both_ways(tmp_path):
    ours = add_lora(decoder(), LoRAConfig(r=4, alpha=8))
    stir(ours)
    decoder_folder = save_model(decoder(), tmp_path / "base")
    save_lora(ours, tmp_path / "ours", base=str(decoder_folder))
    theirs = PeftModel.from_pretrained(to_llama(decoder()), tmp_path / "ours")
    torch.testing.assert_close(theirs(IDS).logits, ours(IDS).logits, rtol=1e-6, atol=1e-6)
    theirs.save_pretrained(tmp_path / "theirs")
    again = load_lora(decoder(), tmp_path / "theirs", "again")
    assert torch.equal(again(IDS).logits, ours(IDS).logits)
    assert not list((tmp_path / "ours").glob(".*"))


def test_generation_uses_the_adapter_and_merging_keeps_it():
    model = add_lora(decoder(), LoRAConfig(r=4))
    stir(model)
    prompts = IDS[:, :5].tolist()
    tokens = generate(model, prompts, 12, stop_ids=()).tokens
    assert not torch.equal(tokens, generate(decoder(), prompts, 12, stop_ids=()).tokens)
    assert torch.equal(tokens, generate(merge_lora(copy.deepcopy(model)), prompts, 12, stop_ids=()).tokens)


def test_a_merged_llama_is_a_decoder_again():
    model = add_lora(to_llama(decoder()), LoRAConfig(r=4))
    stir(model)
    logits = model(IDS).logits
    torch.testing.assert_close(from_llama(merge_lora(model))(IDS).logits, logits, rtol=1e-5, atol=1e-5)


def test_dropout_only_in_training():
    model = add_lora(decoder(), LoRAConfig(r=4, dropout=0.5))
    stir(model)
    model.eval()
    assert torch.equal(model(IDS).logits, model(IDS).logits)
    model.train()
    assert not torch.equal(model(IDS).logits, model(IDS).logits)


def test_bad_input(tmp_path):
    with pytest.raises(ValueError, match="no layer is called query.*down_proj"):
        add_lora(decoder(), LoRAConfig(targets=("query",)))
    model = add_lora(decoder())
    with pytest.raises(ValueError, match="has an adapter 'default' already"):
        add_lora(model)
    with pytest.raises(ValueError, match="there is no adapter 'x'; this model has default"):
        use_adapter(model, "x")
    for wrong in ({"r": 0}, {"dropout": 1.0}, {"targets": ()}):
        with pytest.raises(ValueError, match="LoRAConfig"):
            LoRAConfig(**wrong)
    with pytest.raises(FileNotFoundError, match="has no adapter_config.json"):
        load_lora(decoder(), tmp_path)
    save_lora(model, tmp_path / "a", base="the small one")
    larger = Decoder(DecoderConfig(**{**SIZES, "hidden_size": 64}), seed=0)
    with pytest.raises(ValueError, match="does not fit this model.*the small one"):
        load_lora(larger, tmp_path / "a")
    assert not adapters(larger), "a failed load leaves the model as it was"
    config = json.loads((tmp_path / "a" / "adapter_config.json").read_text())
    (tmp_path / "a" / "adapter_config.json").write_text(json.dumps(config | {"use_dora": True}))
    with pytest.raises(ValueError, match="use_dora"):
        load_lora(decoder(), tmp_path / "a")


def llama_with(tmp_path, **settings) -> PeftModel:
    """A saved, untrained adapter of peft with these settings, as peft loads it again."""
    settings = {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"], "task_type": "CAUSAL_LM", **settings}
    get_peft_model(to_llama(decoder()), LoraConfig(**settings)).save_pretrained(tmp_path)
    return PeftModel.from_pretrained(to_llama(decoder()), tmp_path)


@pytest.mark.parametrize(
    "settings",
    [
        {"init_lora_weights": "gaussian"},
        {"init_lora_weights": False},
        {"init_lora_weights": "orthogonal"},
        {"layers_to_transform": [1], "init_lora_weights": False},
        {"exclude_modules": ["layers.0.self_attn.q_proj"], "init_lora_weights": False},
        {"target_modules": r".*layers\.1\..*(q|down)_proj", "init_lora_weights": False},
        {"modules_to_save": ["embed_tokens"], "init_lora_weights": False},
        {"lora_dropout": 0.3},
    ],
    ids=lambda settings: "-".join(f"{key}={value}" for key, value in settings.items()),
)
def test_what_peft_computes_is_computed_here(settings, tmp_path):
    theirs = llama_with(tmp_path, **settings).eval()
    ours = load_lora(decoder(), tmp_path).eval()
    torch.testing.assert_close(ours(IDS).logits, theirs(IDS).logits, rtol=1e-5, atol=1e-5)
    save_lora(ours, tmp_path / "again")
    again = PeftModel.from_pretrained(to_llama(decoder()), tmp_path / "again").eval()
    if "modules_to_save" not in settings:
        torch.testing.assert_close(again(IDS).logits, theirs(IDS).logits, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "settings",
    [
        {"init_lora_weights": "pissa"},
        {"init_lora_weights": "pissa_niter_2"},
        {"init_lora_weights": "olora"},
        {"alora_invocation_tokens": [7, 8]},
        {"lora_bias": True},
        {"use_rslora": True},
        {"rank_pattern": {"q_proj": 2}},
        {"alpha_pattern": {"q_proj": 2}},
        {"use_dora": True},
        {"trainable_token_indices": [3]},
        {"bias": "all"},
    ],
    ids=lambda settings: "-".join(f"{key}={value}" for key, value in settings.items()),
)
@pytest.mark.filterwarnings("ignore")
def test_what_is_no_plain_lora_is_refused(settings, tmp_path):
    llama_with(tmp_path, **settings)
    model = decoder()
    with pytest.raises(ValueError, match="Load it with peft"):
        load_lora(model, tmp_path)
    assert not adapters(model) and all(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("field", ["target_parameters", "use_qalora", "velora_config", "use_bdlora", "of_tomorrow"])
def test_a_field_that_is_not_known_to_be_harmless_is_refused(field, tmp_path):
    save_lora(add_lora(decoder()), tmp_path)
    path = tmp_path / "adapter_config.json"
    described = json.loads(path.read_text())
    path.write_text(json.dumps(described | {field: None}))
    load_lora(decoder(), tmp_path)
    path.write_text(json.dumps(described | {field: ["something"]}))
    with pytest.raises(ValueError, match=f"{field}.*Load it with peft"):
        load_lora(decoder(), tmp_path)


def test_the_adapter_in_use_is_the_one_that_is_written(tmp_path):
    model = decoder()
    for name, r in (("first", 2), ("second", 4)):
        add_lora(model, LoRAConfig(r=r), name, seed=r)
        stir(model, name)
    use_adapter(model, "first")
    assert active_adapter(model) == "first"
    wanted = model(IDS).logits
    save_lora(model, tmp_path)
    assert torch.equal(load_lora(decoder(), tmp_path)(IDS).logits, wanted)
    use_adapter(model, None)
    with pytest.raises(ValueError, match="no adapter is in use; this model has first, second"):
        save_lora(model, tmp_path)
    with pytest.raises(ValueError, match="no adapter is in use; name one of first, second"):
        next(layer for _, layer in lora_layers(model)).update()


def test_an_adapter_on_a_model_that_has_one_rests_on_the_base(tmp_path):
    """Adapters lie side by side: a second one starts at the base, and is saved and loaded without the first."""
    model, plain = add_lora(decoder(), LoRAConfig(r=2)), decoder()(IDS).logits
    stir(model)
    add_lora(model, LoRAConfig(r=4, targets=("q_proj", "down_proj")), "second", seed=3)
    assert torch.equal(model(IDS).logits, plain)
    stir(model, "second")
    save_lora(model, tmp_path)
    alone = load_lora(decoder(), tmp_path)
    torch.testing.assert_close(alone(IDS).logits, model(IDS).logits)
    beside = load_lora(use_adapter(copy.deepcopy(model), "default"), tmp_path, "third")
    torch.testing.assert_close(beside(IDS).logits, model(IDS).logits)
    assert {name: value.shape for name, value in base_weights(model).items()} == {
        name: value.shape for name, value in decoder().state_dict().items()
    }
    assert all(torch.equal(value, decoder().state_dict()[name]) for name, value in base_weights(model).items())


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("targets", [("q_proj", "down_proj"), ("q_proj", "lm_head")])
def test_new_tokens_go_with_the_adapter(tied, targets, tmp_path):
    """Both ways: into our decoder and a Llama, which grow, and through peft, which wants a model that has grown."""
    base = Decoder(DecoderConfig(**SIZES, tie_word_embeddings=tied), seed=1)
    model = resize_embeddings(copy.deepcopy(base), [[5, 9], [30]])
    add_lora(model, LoRAConfig(r=4, targets=targets))
    stir(model)
    with torch.no_grad():
        model.model.embed_tokens.weight[-2:] += 0.1
    ids = torch.tensor([[7, 64, 12, 65, 8]])
    save_lora(model, tmp_path, save_embedding_layers=True)
    for again in (load_lora(copy.deepcopy(base), tmp_path), load_lora(to_llama(base), tmp_path)):
        torch.testing.assert_close(again(ids).logits, model(ids).logits, rtol=1e-5, atol=1e-5)
        assert again.config.vocab_size == 66 and again.lm_head.out_features == 66
    if tied and "lm_head" in targets:
        return  # peft ties the adapter's head in another way
    grown = to_llama(base)
    grown.resize_token_embeddings(66, mean_resizing=False)
    theirs = PeftModel.from_pretrained(grown, tmp_path)
    torch.testing.assert_close(theirs(ids).logits, model(ids).logits, rtol=1e-5, atol=1e-5)
    theirs.save_pretrained(tmp_path / "theirs", save_embedding_layers=True)
    if "lm_head" in targets:  # peft then leaves out the embedding, which is not a target
        with pytest.raises(ValueError, match="rows for new tokens for one of embedding and head, and not for the"):
            load_lora(copy.deepcopy(base), tmp_path / "theirs")
        return
    back = load_lora(copy.deepcopy(base), tmp_path / "theirs")
    torch.testing.assert_close(back(ids).logits, model(ids).logits, rtol=1e-5, atol=1e-5)


def test_an_embedding_of_fewer_rows_does_not_fit(tmp_path):
    save_lora(add_lora(decoder()), tmp_path, save_embedding_layers=True)
    larger = resize_embeddings(decoder(), [[5]])
    with pytest.raises(ValueError, match=r"does not fit.*embed_tokens.weight is \(64, 32\) there and \(65, 32\) here"):
        load_lora(larger, tmp_path)
    assert not adapters(larger) and larger.config.vocab_size == 65
