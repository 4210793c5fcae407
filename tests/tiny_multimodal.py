"""Tiny image-text models of the real classes with random weights, and real processors, in the hub's layout."""

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

SENTENCES = [
    "Where on Earth was this photograph taken?",
    "The latitude of the tower is higher than that of the bridge.",
    "Describe the image in one sentence; name the country and the region.",
    "A street with trees, low houses and mountains beyond the river.",
]

# As the families' checkpoints have them, shortened to what one question with one image needs.
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% for item in message['content'] %}{% if item['type'] == 'image' %}IMAGE"
    "{% else %}{{ item['text'] }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
VICUNA = (
    "{% for message in messages %}USER: {% for item in message['content'] %}{% if item['type'] == 'image' %}<image>\n"
    "{% else %}{{ item['text'] }} {% endif %}{% endfor %}{% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{% for message in messages %}<start_of_turn>{{ message['role'] }}\n"
    "{% for item in message['content'] %}{% if item['type'] == 'image' %}<start_of_image>"
    "{% else %}{{ item['text'] | trim }}{% endif %}{% endfor %}<end_of_turn>\n{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)


def make_tokenizer(special, begin=None, **attributes):
    """A byte-level BPE tokenizer trained on a few sentences.

    Args:
        special: special tokens in the order of their ids; the first is the padding.
        begin: token that is put before every text, as tokenizers of the Llama and Gemma families do.
        attributes: further tokens by name, such as image_token.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=340, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    if begin:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{begin} $A", special_tokens=[(begin, tokenizer.token_to_id(begin))]
        )
    begins = {"bos_token": begin} if begin else {}
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=special[0], extra_special_tokens=attributes, **begins
    )


def randomise(model, seed):
    """Give every parameter values that matter, those that begin as zeros or ones too."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.15)
    return model.eval()


LLAMA = {
    "hidden_size": 48,
    "intermediate_size": 64,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 360,
    "max_position_embeddings": 512,
}
# of vision towers, 16 patches each
TOWER = {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 4, "image_size": 28, "patch_size": 7}
MROPE = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 2, 2]}


def llava(depths):
    """LLaVA-1.5: a CLIP tower with a class token, images of one size, the last block but one read by the decoder."""
    vision, text = depths
    tokenizer = make_tokenizer(["<pad>", "<s>", "<image>"], begin="<s>")
    config = transformers.LlavaConfig(
        vision_config={
            "model_type": "clip_vision_model",
            "num_hidden_layers": vision,
            **TOWER,
            "projection_dim": 16,
        },
        text_config={"model_type": "llama", "num_hidden_layers": text, **LLAMA},
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        image_seq_length=16,
    )
    processor = transformers.LlavaProcessor(
        transformers.CLIPImageProcessor(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28}),
        tokenizer,
        patch_size=7,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=VICUNA,
    )
    return transformers.LlavaForConditionalGeneration(config), processor


def llava_onevision(depths):
    """LLaVA-OneVision: a SigLIP tower without a class token, the whole image first and then crops of it."""
    vision, text = depths
    tokenizer = make_tokenizer(["<|endoftext|>", "<image>", "<video>", "<|im_start|>", "<|im_end|>"])
    pinpoints = [[28, 28], [28, 56], [56, 28], [56, 56], [28, 84]]
    config = transformers.LlavaOnevisionConfig(
        vision_config={
            "model_type": "siglip_vision_model",
            "num_hidden_layers": vision,
            **TOWER,
            "vision_use_head": False,
        },
        text_config={"model_type": "qwen2", "num_hidden_layers": text, **LLAMA},
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        video_token_index=tokenizer.convert_tokens_to_ids("<video>"),
        image_grid_pinpoints=pinpoints,
    )
    processor = transformers.LlavaOnevisionProcessor(
        transformers.LlavaOnevisionImageProcessor(size={"height": 28, "width": 28}, image_grid_pinpoints=pinpoints),
        tokenizer,
        transformers.LlavaOnevisionVideoProcessor(size={"height": 28, "width": 28}),
        num_image_tokens=16,
        vision_feature_select_strategy="full",
        chat_template=CHATML.replace("IMAGE", "<image>"),
    )
    return transformers.LlavaOnevisionForConditionalGeneration(config), processor


QWEN = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>"]


def qwen_parts(patch, video_processor):
    """Tokenizer, the ids that the configuration names, image and video processor of a Qwen model."""
    tokenizer = make_tokenizer([*QWEN, "<|video_pad|>"])
    ids = {
        name: tokenizer.convert_tokens_to_ids(token)
        for name, token in (
            ("bos_token_id", "<|endoftext|>"),
            ("eos_token_id", "<|im_end|>"),
            ("image_token_id", "<|image_pad|>"),
            ("video_token_id", "<|video_pad|>"),
            ("vision_start_token_id", "<|vision_start|>"),
            ("vision_end_token_id", "<|vision_end|>"),
        )
    }
    side = 2 * patch
    sizes = {"patch_size": patch, "size": {"shortest_edge": 4 * side * side, "longest_edge": 30 * side * side}}
    return tokenizer, ids, transformers.Qwen2VLImageProcessor(**sizes), video_processor(**sizes)


def qwen2_5_vl(depths):
    """Qwen2.5-VL: patches of all images packed into one row, put into the order of attention windows."""
    vision, text = depths
    tokenizer, ids, images, videos = qwen_parts(14, transformers.Qwen2VLVideoProcessor)
    config = transformers.Qwen2_5_VLConfig(
        vision_config={
            "depth": vision,
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_heads": 2,
            "patch_size": 14,
            "window_size": 56,
            "fullatt_block_indexes": [1],
            "out_hidden_size": 48,
        },
        text_config={"num_hidden_layers": text, "rope_parameters": MROPE, **LLAMA},
        **ids,
    )
    processor = transformers.Qwen2_5_VLProcessor(
        images,
        tokenizer,
        videos,
        chat_template=CHATML.replace("IMAGE", "<|vision_start|><|image_pad|><|vision_end|>"),
    )
    return transformers.Qwen2_5_VLForConditionalGeneration(config), processor


def qwen3_vl(depths):
    """Qwen3-VL: patches packed in merged squares; what early vision blocks give is added to early decoder blocks."""
    vision, text = depths
    tokenizer, ids, images, videos = qwen_parts(16, transformers.Qwen3VLVideoProcessor)
    config = transformers.Qwen3VLConfig(
        vision_config={
            "depth": vision,
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_heads": 2,
            "patch_size": 16,
            "out_hidden_size": 48,
            "num_position_embeddings": 16,
            "deepstack_visual_indexes": [0],
        },
        text_config={"num_hidden_layers": text, "head_dim": 12, "rope_parameters": MROPE, **LLAMA},
        **ids,
    )
    processor = transformers.Qwen3VLProcessor(
        images,
        tokenizer,
        videos,
        chat_template=CHATML.replace("IMAGE", "<|vision_start|><|image_pad|><|vision_end|>"),
    )
    return transformers.Qwen3VLForConditionalGeneration(config), processor


def gemma3(depths, template=GEMMA):
    """Gemma 3: a SigLIP tower, image tokens that see each other both ways, and attention windows in the decoder."""
    vision, text = depths
    special = ["<pad>", "<eos>", "<bos>", "<start_of_image>", "<end_of_image>", "<image_soft_token>"]
    tokenizer = make_tokenizer(
        [*special, "<start_of_turn>", "<end_of_turn>"],
        begin="<bos>",
        boi_token="<start_of_image>",
        eoi_token="<end_of_image>",
        image_token="<image_soft_token>",
    )
    config = transformers.Gemma3Config(
        vision_config={
            "model_type": "siglip_vision_model",
            "num_hidden_layers": vision,
            **TOWER,
            "vision_use_head": False,
        },
        text_config={
            "num_hidden_layers": text,
            "head_dim": 12,
            "sliding_window": 8,
            # the first block sees the image from the last token; windows are shorter than the sequence
            "layer_types": ["sliding_attention" if block else "full_attention" for block in range(text)],
            **LLAMA,
        },
        mm_tokens_per_image=4,
        boi_token_index=tokenizer.convert_tokens_to_ids("<start_of_image>"),
        eoi_token_index=tokenizer.convert_tokens_to_ids("<end_of_image>"),
        image_token_index=tokenizer.convert_tokens_to_ids("<image_soft_token>"),
    )
    processor = transformers.Gemma3Processor(
        transformers.Gemma3ImageProcessor(size={"height": 28, "width": 28}),
        tokenizer,
        image_seq_length=4,
        chat_template=template,
    )
    return transformers.Gemma3ForConditionalGeneration(config), processor


def gemma3_pt(depths):
    """Gemma 3 as pretrained, without a chat template."""
    return gemma3(depths, template=None)


def internvl(depths):
    """InternVL: a tower with a class token, crops first and the whole image last."""
    vision, text = depths
    names = {
        "start_image_token": "<img>",
        "end_image_token": "</img>",
        "context_image_token": "<IMG_CONTEXT>",
        "video_token": "<video>",
    }
    tokenizer = make_tokenizer(["<|endoftext|>", "<|im_start|>", "<|im_end|>", *names.values()], **names)
    config = transformers.InternVLConfig(
        vision_config={
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_attention_heads": 4,
            "num_hidden_layers": vision,
            "image_size": [28, 28],
            "patch_size": [7, 7],
        },
        text_config={"model_type": "qwen2", "num_hidden_layers": text, **LLAMA},
        image_token_id=tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>"),
        image_seq_length=4,
    )
    processor = transformers.InternVLProcessor(
        transformers.GotOcr2ImageProcessor(size={"height": 28, "width": 28}, max_patches=4, crop_to_patches=True),
        tokenizer,
        transformers.InternVLVideoProcessor(size={"height": 28, "width": 28}),
        image_seq_length=4,
        chat_template=CHATML.replace("IMAGE", "<IMG_CONTEXT>\n"),
    )
    return transformers.InternVLForConditionalGeneration(config), processor


def mistral3(depths):
    """Mistral 3, which is not supported: patches of all images packed into one row, with the axis of a batch."""
    vision, text = depths
    tokenizer = make_tokenizer(["<pad>", "<s>", "[IMG]", "[IMG_BREAK]", "[IMG_END]"], begin="<s>")
    config = transformers.Mistral3Config(
        vision_config={
            "model_type": "pixtral",
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_attention_heads": 4,
            "num_hidden_layers": vision,
            "image_size": 56,
            "patch_size": 7,
        },
        text_config={"model_type": "mistral", "num_hidden_layers": text, **LLAMA},
        image_token_index=tokenizer.convert_tokens_to_ids("[IMG]"),
        spatial_merge_size=2,
    )
    processor = transformers.PixtralProcessor(
        transformers.PixtralImageProcessor(size={"longest_edge": 56}, patch_size={"height": 14, "width": 14}),
        tokenizer,
        patch_size=7,
        spatial_merge_size=2,
        chat_template=CHATML.replace("IMAGE", "[IMG]"),
    )
    return transformers.Mistral3ForConditionalGeneration(config), processor


FAMILIES = {make.__name__: make for make in (llava, llava_onevision, qwen2_5_vl, qwen3_vl, gemma3, gemma3_pt, internvl)}


def save_model(family, folder, depths=(3, 2), seed=0):
    """Save a tiny model of a family in a folder, as from_pretrained reads it.

    Args:
        family: a name of FAMILIES, or a function like those.
        folder: where to.
        depths: blocks of the vision tower and of the decoder.
        seed: of the weights.

    Returns:
        The model, with the weights that were saved, and its processor.
    """
    model, processor = FAMILIES.get(family, family)(depths)
    randomise(model, seed).save_pretrained(folder)
    processor.save_pretrained(folder)
    return model, processor


def make_row(folder, dtype="float32"):
    """A row of the registry for a model in a folder."""
    return {
        "model": "tiny",
        "label": "Tiny",
        "loader": "transformers",
        "id": str(folder),
        "revision": "none",
        "supervision": "multimodal",
        "geolocation": "no",
        "dtype": dtype,
        "memory_gb": "1",
        "weights": "safetensors",
    }
