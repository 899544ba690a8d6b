//! Weight files: written and read back, damaged, and outside their folder.

mod common;

use anemone_mil::{BlobError, BlobRef, BlobWriter, DataType, Tensor, Weights};
use common::{Folder, Random};

fn reference(tensor: &Tensor, offset: u64) -> BlobRef {
    let path = "@model_path/weights/weight.bin".to_owned();
    BlobRef { dtype: tensor.dtype(), dims: tensor.dims().to_vec(), path, offset }
}

/// One tensor of every type that files can hold, odd sizes so that sub-byte ones end in a byte.
fn samples() -> Vec<Tensor> {
    let make = |dtype: DataType| {
        if dtype.is_float() {
            let values: Vec<f64> = (0..15).map(|i| f64::from(i) / 8.0 - 1.0).collect();
            return Tensor::from_f64s(dtype, &[3, 5], &values).expect("fifteen floats");
        }
        let values: Vec<i64> = (0..15).map(|i| i % 2).collect();
        Tensor::from_i64s(dtype, &[3, 5], &values).expect("fifteen integers")
    };
    let stored = |d: &DataType| {
        use DataType::*;
        !matches!(d, String | Fp64 | Int64 | Uint64)
    };
    DataType::all().filter(stored).map(make).collect()
}

#[test]
fn every_type_comes_back_from_memory_and_disk() {
    let folder = Folder::new("every-type");
    std::fs::create_dir(folder.0.join("weights")).expect("a folder can be made");
    let path = folder.0.join("weights/weight.bin");
    let mut file = BlobWriter::create(&path).expect("a file can be made");
    let mut memory = BlobWriter::in_memory();
    let mut references = vec![];
    let empty = Tensor::from_i64s(DataType::Int8, &[0, 4], &[]).expect("no elements");
    let tensors: Vec<Tensor> = samples().into_iter().chain([empty]).collect();
    for tensor in &tensors {
        let offset = file.push(tensor).expect("the type can be stored");
        assert_eq!(memory.push(tensor).expect("the type can be stored"), offset);
        assert_eq!(offset % 64, 0);
        references.push(reference(tensor, offset));
    }
    assert!(!path.exists(), "the file has its name only when it is complete");
    file.commit().expect("the file can be completed");
    let bytes = memory.into_bytes().expect("memory takes all writes");
    assert_eq!(std::fs::read(&path).expect("the file is there"), bytes);
    assert_eq!(bytes[..8], [tensors.len() as u8, 0, 0, 0, 2, 0, 0, 0]);
    let disk = Weights::in_dir(&folder.0);
    let memory = Weights::in_memory([("weights/weight.bin", bytes)]);
    for (tensor, reference) in tensors.iter().zip(&references) {
        assert_eq!(disk.load(reference).expect("it was written"), *tensor);
        assert_eq!(memory.load(reference).expect("it was written"), *tensor);
    }
}

#[test]
fn a_record_is_copied_as_it_is_read() {
    let mut tensors = samples();
    // Longer than the parts in which records are copied.
    let long: Vec<i64> = (0..(3 << 20) + 5).map(|i| i % 7).collect();
    tensors.push(Tensor::from_i64s(DataType::Uint3, &[long.len()], &long).expect("as many"));
    tensors.push(Tensor::from_i64s(DataType::Uint8, &[long.len()], &long).expect("as many"));
    let mut first = BlobWriter::in_memory();
    let references: Vec<BlobRef> = tensors
        .iter()
        .map(|tensor| reference(tensor, first.push(tensor).expect("the type can be stored")))
        .collect();
    let bytes = first.into_bytes().expect("memory takes all writes");
    let weights = Weights::in_memory([("weights/weight.bin", bytes.clone())]);
    let mut second = BlobWriter::in_memory();
    for reference in &references {
        assert_eq!(second.copy(&weights, reference).expect("it is there"), reference.offset);
    }
    assert!(second.into_bytes().expect("memory takes all writes") == bytes);
    // What cannot be loaded cannot be copied.
    let mut third = BlobWriter::in_memory();
    let absent = BlobRef { offset: 1 << 40, ..references[0].clone() };
    let error = third.copy(&weights, &absent).expect_err("it is behind the end").to_string();
    assert_eq!(error, weights.load(&absent).expect_err("it is behind the end").to_string());
}

#[test]
fn a_writer_that_is_dropped_leaves_nothing() {
    let folder = Folder::new("dropped");
    let path = folder.0.join("w.bin");
    std::fs::write(&path, "old").expect("a file can be written");
    let mut writer = BlobWriter::create(&path).expect("a file can be made");
    writer.push(&Tensor::int32(7)).expect("int32 can be stored");
    drop(writer);
    let names: Vec<_> = std::fs::read_dir(&folder.0).expect("the folder is there").collect();
    assert_eq!(names.len(), 1);
    assert_eq!(std::fs::read(&path).expect("the old file is there"), b"old");
}

#[test]
fn strings_and_wide_types_are_refused() {
    let mut writer = BlobWriter::in_memory();
    for tensor in [Tensor::string("a"), Tensor::float(DataType::Fp64, 1.0)] {
        assert!(matches!(writer.push(&tensor), Err(BlobError::Kind(_))));
    }
}

/// A file with one record of four floats at byte 64, and a change made to it.
fn changed(change: impl FnOnce(&mut Vec<u8>)) -> Result<Tensor, BlobError> {
    let tensor = Tensor::from_f64s(DataType::Fp32, &[4], &[1.0, 2.0, 3.0, 4.0]).expect("four");
    let mut writer = BlobWriter::in_memory();
    let offset = writer.push(&tensor).expect("fp32 can be stored");
    let mut bytes = writer.into_bytes().expect("memory takes all writes");
    change(&mut bytes);
    Weights::in_memory([("@model_path/weights/weight.bin", bytes)])
        .load(&reference(&tensor, offset))
}

fn message(result: Result<Tensor, BlobError>) -> String {
    result.expect_err("the file is damaged").to_string()
}

#[test]
fn damage_is_named_with_file_and_offset() {
    let place = "weight file `@model_path/weights/weight.bin`, record at byte 64: ";
    let check = |result, expected: &str| assert_eq!(message(result), format!("{place}{expected}"));
    check(changed(|b| b[64] = 0), "expected the mark 0xdeadbeef, found 0xdeadbe00");
    check(changed(|b| b[68] = 1 + 5), "expected fp32, it holds int16");
    check(changed(|b| b[72] = 15), "fp32 of shape [4] takes 16 bytes, it has 15");
    check(
        changed(|b| b.truncate(140)),
        "its data (16 bytes from byte 128) is not in the file of 140 bytes",
    );
    check(
        changed(|b| b.truncate(80)),
        "its metadata (24 bytes from byte 64) is not in the file of 80 bytes",
    );
}

#[test]
fn records_of_hand_written_tools_are_read() {
    for code in [0, 1, 8] {
        assert!(changed(|b| b[68] = code).is_ok());
    }
    // Sizes of 32 bits with anything above.
    assert!(changed(|b| b[76..80].fill(0xab)).is_ok());
    // The data somewhere else than right behind the metadata.
    let moved = changed(|b| {
        let data = b[128..144].to_vec();
        b.extend([0; 8]);
        let at = b.len() as u64;
        b.extend(data);
        b[80..88].copy_from_slice(&at.to_le_bytes());
    });
    assert_eq!(moved.expect("it is in the file").to_f64s(), [1.0, 2.0, 3.0, 4.0]);
}

/// Elements of 4 bits lie from the low bits up without gaps, and the record says how many bits of
/// its last byte are unused.
#[test]
fn four_bits_are_packed_from_the_low_half() {
    for (dtype, values, code, packed) in [
        (DataType::Int4, [-8, 7, -1], 8, [0x78, 0x0f]),
        (DataType::Uint4, [8, 7, 15], 11, [0x78, 0x0f]),
    ] {
        let tensor = Tensor::from_i64s(dtype, &[3, 1], &values).expect("three");
        let mut writer = BlobWriter::in_memory();
        let offset = writer.push(&tensor).expect("four bits can be stored");
        let bytes = writer.into_bytes().expect("memory takes all writes");
        assert_eq!((offset, &bytes[68..72]), (64, &[code, 0, 0, 0][..]));
        assert_eq!((bytes[72], bytes[80], bytes[88]), (2, 128, 4), "size, position, unused bits");
        assert_eq!(bytes[128..130], packed);
        let weights = Weights::in_memory([("weights/weight.bin", bytes)]);
        let again = weights.load(&reference(&tensor, offset)).expect("it is there");
        assert_eq!(again.to_i64s(), values);
    }
}

#[test]
fn unused_bits_do_not_matter() {
    let tensor = Tensor::from_i64s(DataType::Uint3, &[3], &[1, 2, 7]).expect("three");
    let mut writer = BlobWriter::in_memory();
    let offset = writer.push(&tensor).expect("uint3 can be stored");
    let mut bytes = writer.into_bytes().expect("memory takes all writes");
    bytes[129] |= 0xfe;
    let weights = Weights::in_memory([("weights/weight.bin", bytes)]);
    assert_eq!(weights.load(&reference(&tensor, offset)).expect("it is there"), tensor);
}

#[test]
fn paths_stay_in_the_folder() {
    let folder = Folder::new("paths");
    std::fs::create_dir(folder.0.join("inside")).expect("a folder can be made");
    let tensor = Tensor::int32(7);
    let mut writer = BlobWriter::create(folder.0.join("w.bin")).expect("a file can be made");
    let offset = writer.push(&tensor).expect("int32 can be stored");
    writer.commit().expect("the file can be completed");
    let absolute = folder.0.join("w.bin").display().to_string();
    let load = |weights: &Weights, path: &str| {
        weights.load(&BlobRef { path: path.to_owned(), ..reference(&tensor, offset) })
    };
    let inside = Weights::in_dir(folder.0.join("inside"));
    for path in ["../w.bin", "@model_path/../w.bin", "@model_path//w.bin", &absolute, "", "@x/w"] {
        assert!(matches!(load(&inside, path), Err(BlobError::Path { .. })), "{path}");
    }
    let whole = Weights::in_dir(&folder.0);
    assert_eq!(load(&whole, "@model_path/w.bin").expect("it is there"), tensor);
    assert_eq!(load(&whole, "w.bin").expect("it is there"), tensor);
    assert!(matches!(load(&whole, "inside"), Err(BlobError::Path { .. })));
    assert!(matches!(load(&whole, "absent.bin"), Err(BlobError::Io { .. })));
    assert!(matches!(load(&Weights::default(), "w.bin"), Err(BlobError::NoDirectory(_))));

    // Whole files go the same way.
    let bytes = std::fs::read(folder.0.join("w.bin")).expect("it is there");
    assert_eq!(*whole.file("@model_path/w.bin").expect("it is there"), *bytes);
    let memory = Weights::in_memory([("@model_path/w.bin", bytes.clone())]);
    assert_eq!(*memory.file("w.bin").expect("it is there"), *bytes);
    assert!(matches!(inside.file("../w.bin"), Err(BlobError::Path { .. })));
    assert!(matches!(memory.file("absent.bin"), Err(BlobError::Path { .. })));
    assert!(matches!(whole.file("absent.bin"), Err(BlobError::Io { .. })));
    assert!(matches!(Weights::default().file("w.bin"), Err(BlobError::NoDirectory(_))));
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink("../w.bin", folder.0.join("inside/link.bin")).expect("a link");
        assert!(matches!(load(&inside, "link.bin"), Err(BlobError::Path { .. })));
        std::os::unix::fs::symlink("w.bin", folder.0.join("link.bin")).expect("a link");
        assert_eq!(load(&whole, "link.bin").expect("the link stays inside"), tensor);
    }
}

#[test]
fn huge_references_are_errors_before_any_memory_is_taken() {
    let huge = |dims: &[usize], offset| BlobRef {
        dtype: DataType::Fp32,
        dims: dims.to_vec(),
        path: "w".into(),
        offset,
    };
    let mut writer = BlobWriter::in_memory();
    writer.push(&Tensor::int32(7)).expect("int32 can be stored");
    let mut bytes = writer.into_bytes().expect("memory takes all writes");
    // A record that claims to be as large as any.
    bytes[72..80].fill(0xff);
    let weights = Weights::in_memory([("w", bytes)]);
    assert!(weights.load(&huge(&[usize::MAX, 16], 64)).is_err());
    assert!(weights.load(&huge(&[1 << 40], 64)).is_err());
    assert!(weights.load(&huge(&[1], u64::MAX)).is_err());
    assert!(weights.load(&huge(&[1], u64::MAX - 23)).is_err());
}

#[test]
fn damaged_files_never_panic() {
    let mut writer = BlobWriter::in_memory();
    let mut references = vec![];
    for tensor in samples() {
        references.push(reference(&tensor, writer.push(&tensor).expect("it can be stored")));
    }
    let whole = writer.into_bytes().expect("memory takes all writes");
    let mut random = Random::new(3);
    let (mut good, mut bad) = (0, 0);
    let alphabet: Vec<u8> = (0..=255).collect();
    for _ in 0..2000 {
        let mut bytes = whole.clone();
        for _ in 0..1 + random.below(4) {
            random.damage(&mut bytes, &alphabet);
        }
        let weights = Weights::in_memory([("weights/weight.bin", bytes)]);
        for reference in &references {
            match weights.load(reference) {
                Ok(tensor) => {
                    assert_eq!(tensor.dims(), reference.dims);
                    good += 1;
                }
                Err(_) => bad += 1,
            }
        }
    }
    assert!(good > 0 && bad > 0);
}
