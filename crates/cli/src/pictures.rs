//! Pictures in files, as inputs of programs.

use anemone::image::Picture;
use anyhow::bail;
use coreml::{Feature, FeatureType, FunctionInterface, ImageType};
use std::path::Path;

/// Whether a name is that of a picture.
pub fn is_one(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    extension.is_some_and(|e| ["png", "jpg", "jpeg"].iter().any(|one| e.eq_ignore_ascii_case(one)))
}

/// The input that a picture is for: the only image among the inputs.
pub fn image_input(interface: &FunctionInterface) -> anyhow::Result<(&Feature, &ImageType)> {
    let images = interface.inputs.iter().filter_map(|feature| match &feature.ty {
        FeatureType::Image(image) => Some((feature, image)),
        _ => None,
    });
    let images: Vec<(&Feature, &ImageType)> = images.collect();
    match images[..] {
        [only] => Ok(only),
        [] => {
            let told = |feature: &Feature| format!("`{}` is {}", feature.name, feature.ty);
            let inputs: Vec<String> = interface.inputs.iter().map(told).collect();
            bail!(
                "the model takes no image, so it does not say how pixels become numbers: {}; give \
                 arrays in a .npz or .safetensors file",
                if inputs.is_empty() { "it has no inputs".to_owned() } else { inputs.join(", ") }
            )
        }
        _ => {
            let names: Vec<&str> = images.iter().map(|(f, _)| f.name.as_str()).collect();
            bail!(
                "the model takes several images ({}): give them as arrays in a .npz or \
                 .safetensors file",
                names.join(", ")
            )
        }
    }
}

/// Reads a picture in a size that fits; another one is scaled to the usual size if `resize` says so.
pub fn read(
    path: &Path,
    (feature, image): (&Feature, &ImageType),
    fits: impl Fn(&[usize]) -> bool,
    resize: bool,
) -> anyhow::Result<Picture> {
    let picture = Picture::read(path)?;
    let (width, height) = (picture.width(), picture.height());
    if fits(&image.shape(width, height)) {
        return Ok(picture);
    }
    if !resize {
        bail!(
            "`{}` has {width} × {height} pixels, input `{}` is {}: --resize scales pictures to \
             {} × {}",
            path.display(),
            feature.name,
            feature.ty,
            image.width,
            image.height
        );
    }
    Ok(picture.resized(image.width, image.height)?)
}
