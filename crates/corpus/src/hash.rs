//! A hash of a document that is the same everywhere and for ever.
//!
//! SipHash-2-4 with 128 bits of result (Aumasson and Bernstein, "SipHash: a fast short-input PRF",
//! and their later extension to 128 bits). The key is fixed, so that the part of the data that a
//! document belongs to does not change from run to run, or from machine to machine.

/// The key: any will do, but it must never change.
const KEY: (u64, u64) = (0x616e_656d_6f6e_6520, 0x636f_7270_7573_2031);

/// The hash of a document's text.
pub fn hash(text: &str) -> u128 {
    siphash(KEY.0, KEY.1, text.as_bytes())
}

/// Whether a document of this hash is among the part `fraction` of all that `seed` picks.
///
/// It depends on the document and the seed alone, and not on the order of documents.
pub fn picked(hash: u128, seed: u64, fraction: f64) -> bool {
    let word = mix((hash as u64) ^ mix(seed ^ (hash >> 64) as u64));
    // 53 bits are a number in [0, 1) without rounding.
    ((word >> 11) as f64) * (1.0 / (1_u64 << 53) as f64) < fraction
}

/// The finalizer of SplitMix64.
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn siphash(k0: u64, k1: u64, bytes: &[u8]) -> u128 {
    let mut v = [
        k0 ^ 0x736f_6d65_7073_6575,
        k1 ^ 0x646f_7261_6e64_6f6d ^ 0xee,
        k0 ^ 0x6c79_6765_6e65_7261,
        k1 ^ 0x7465_6462_7974_6573,
    ];
    let (words, rest) = bytes.as_chunks::<8>();
    let absorb = |word: u64, v: &mut [u64; 4]| {
        v[3] ^= word;
        round(v);
        round(v);
        v[0] ^= word;
    };
    for word in words {
        absorb(u64::from_le_bytes(*word), &mut v);
    }
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    last[7] = bytes.len() as u8;
    absorb(u64::from_le_bytes(last), &mut v);
    let mut squeeze = |mark: (usize, u64)| {
        v[mark.0] ^= mark.1;
        for _ in 0..4 {
            round(&mut v);
        }
        v[0] ^ v[1] ^ v[2] ^ v[3]
    };
    let low = squeeze((2, 0xee));
    let high = squeeze((1, 0xdd));
    u128::from(high) << 64 | u128::from(low)
}

fn round(v: &mut [u64; 4]) {
    v[0] = v[0].wrapping_add(v[1]);
    v[2] = v[2].wrapping_add(v[3]);
    v[1] = v[1].rotate_left(13) ^ v[0];
    v[3] = v[3].rotate_left(16) ^ v[2];
    v[0] = v[0].rotate_left(32);
    v[2] = v[2].wrapping_add(v[1]);
    v[0] = v[0].wrapping_add(v[3]);
    v[1] = v[1].rotate_left(17) ^ v[2];
    v[3] = v[3].rotate_left(21) ^ v[0];
    v[2] = v[2].rotate_left(32);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From the tables of the reference implementation: key 00 01 … 0f, input 00 01 ….
    #[test]
    fn the_published_results_come_out() {
        let (k0, k1) = (0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908);
        let input: Vec<u8> = (0..15).collect();
        let of = |length: usize| siphash(k0, k1, &input[..length]).to_le_bytes();
        assert_eq!(
            of(0),
            [
                0xa3, 0x81, 0x7f, 0x04, 0xba, 0x25, 0xa8, 0xe6, 0x6d, 0xf6, 0x72, 0x14, 0xc7, 0x55,
                0x02, 0x93
            ]
        );
        assert_eq!(
            of(1),
            [
                0xda, 0x87, 0xc1, 0xd8, 0x6b, 0x99, 0xaf, 0x44, 0x34, 0x76, 0x59, 0x11, 0x9b, 0x22,
                0xfc, 0x45
            ]
        );
        assert_eq!(of(15)[..4], [0x54, 0x93, 0xe9, 0x99]);
    }

    #[test]
    fn a_part_is_about_as_large_as_asked_and_another_with_another_seed() {
        let hashes: Vec<u128> = (0..20_000).map(|n| hash(&format!("document {n}"))).collect();
        let part = |seed, fraction| -> Vec<usize> {
            (0..hashes.len()).filter(|&n| picked(hashes[n], seed, fraction)).collect()
        };
        let (a, b) = (part(1, 0.1), part(2, 0.1));
        // Five standard deviations of a binomial of 20 000 at 0.1 are 212.
        assert!((1788..=2212).contains(&a.len()) && (1788..=2212).contains(&b.len()));
        let both = a.iter().filter(|n| b.contains(n)).count();
        assert!((130..=270).contains(&both), "{both} would be 200 if the seeds were independent");
        assert!(part(1, 0.0).is_empty());
        assert_eq!(part(1, 1.0).len(), hashes.len());
    }
}
