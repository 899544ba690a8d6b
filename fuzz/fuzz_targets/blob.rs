//! No weight file and no reference to it makes the loader panic or take memory that the file
//! does not account for. Run with `cargo +nightly fuzz run blob`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, Vec<usize>, u64, &[u8])| {
    let (dtype, dims, offset, file) = input;
    let dtypes: Vec<mil::DataType> = mil::DataType::all().collect();
    let dtype = dtypes[usize::from(dtype) % dtypes.len()];
    let blob = mil::BlobRef { dtype, dims, path: "w".to_owned(), offset };
    if let Ok(tensor) = mil::Weights::in_memory([("w", file)]).load(&blob) {
        assert!(tensor.bytes().len() <= file.len());
        assert_eq!(tensor.dims(), blob.dims);
    }
});
