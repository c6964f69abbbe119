"""The paper's results, shown next to ours on the same data sets.

From Yu et al., 2022, https://arxiv.org/abs/2110.04627, tables 3, 5, 6 and 8. They were measured with TF-GAN's
Inception graph; the paper doesn't state the number of samples or the reference set.
"""

_RECONSTRUCTION = {
    "imagenet": [
        ("DALL-E dVAE, 32 x 32, 8192 codes", {"reconstruction/fid": 32.00}),
        ("VQGAN, 16 x 16, 1024 codes", {"reconstruction/fid": 7.94}),
        ("VQGAN, 16 x 16, 16384 codes", {"reconstruction/fid": 4.98}),
        ("VQGAN (Gumbel), 32 x 32, 8192 codes", {"reconstruction/fid": 1.49}),
        ("ViT-VQGAN Small-Small", {"reconstruction/fid": 1.99, "codebook/usage_per_256": 0.95}),
        ("ViT-VQGAN Base-Base", {"reconstruction/fid": 1.55, "codebook/usage_per_256": 0.96}),
        ("ViT-VQGAN Small-Large", {"reconstruction/fid": 1.28, "codebook/usage_per_256": 0.95}),
    ],
    "celeba": [("ViT-VQGAN, 32 x 32, 8192 codes", {"reconstruction/fid": 4.66})],
    "ffhq": [("ViT-VQGAN, 32 x 32, 8192 codes", {"reconstruction/fid": 3.13})],
}
_GENERATION = {
    "imagenet": [
        ("validation images", {"generation/fid": 1.62, "generation/inception_score": 235.0}),
        ("BigGAN-deep", {"generation/fid": 6.84, "generation/inception_score": 203.6}),
        ("ADM-G, guidance 1.0", {"generation/fid": 4.59, "generation/inception_score": 186.7}),
        ("VQGAN", {"generation/fid": 17.04, "generation/inception_score": 70.6}),
        ("VIM-Base, 32 x 32", {"generation/fid": 8.81, "generation/inception_score": 110.8}),
        ("VIM-Large, 32 x 32", {"generation/fid": 4.17, "generation/inception_score": 175.1}),
        ("VIM-Large, acceptance rate 0.5", {"generation/fid": 3.04, "generation/inception_score": 227.4}),
    ],
    "celeba": [
        ("VQGAN, top-k", {"generation/fid": 10.2}),
        ("ViT-VQGAN and VIM", {"generation/fid": 7.0}),
    ],
    "ffhq": [
        ("StyleGAN2", {"generation/fid": 3.8}),
        ("VQGAN, top-k", {"generation/fid": 9.6}),
        ("ViT-VQGAN and VIM", {"generation/fid": 5.3}),
    ],
}


def paper_rows(source_name):
    """Rows of the paper for the data set named in an image source's name.

    Args:
        source_name: str, as `ImageSource.name`.

    Returns:
        list of (model, dict from metric name to float); empty for other data sets.
    """
    name = source_name.lower().replace("_", "").replace("-", "")
    return [row for key in _RECONSTRUCTION if key in name for row in _RECONSTRUCTION[key] + _GENERATION[key]]
