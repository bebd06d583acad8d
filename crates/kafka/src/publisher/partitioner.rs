//! Which partition a broker's reports belong to.

use doctorkafka_wire::BrokerId;

/// The partition that Kafka's Java client would choose for a record whose key is the broker id's decimal string
/// (`BuiltInPartitioner.partitionForKey`: murmur2 of the key, made positive, modulo the number of partitions), so that
/// a report written with any Kafka tool lands where a sidecar's does.
///
/// `partitions` below 1 is taken as 1.
pub fn partition_for(broker: BrokerId, partitions: i32) -> i32 {
    let positive = murmur2(broker.to_string().as_bytes()) & 0x7fff_ffff;
    let partition = positive % partitions.max(1).unsigned_abs();
    i32::try_from(partition).unwrap_or_default()
}

/// Kafka's variant of MurmurHash2 (`org.apache.kafka.common.utils.Utils.murmur2`).
fn murmur2(data: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_b28c;
    const M: u32 = 0x5bd1_e995;

    let mut hash = SEED ^ u32::try_from(data.len()).unwrap_or(u32::MAX);
    let (words, rest) = data.as_chunks::<4>();
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(M);
        k ^= k >> 24;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    if !rest.is_empty() {
        for (i, byte) in rest.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * i);
        }
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vectors of Kafka's own `UtilsTest.testMurmur2`.
    #[test]
    fn hashes_like_kafka() {
        for (text, hash) in [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(text.as_bytes()).cast_signed(), hash, "{text}");
        }
    }

    #[test]
    fn stays_within_the_partitions() {
        for id in 0..2_000 {
            assert!((0..3).contains(&partition_for(BrokerId(id), 3)));
            assert_eq!(partition_for(BrokerId(id), 1), 0);
            assert_eq!(partition_for(BrokerId(id), 0), 0);
        }
        // "21" of the vectors above: 1173551340 % 7
        assert_eq!(partition_for(BrokerId(21), 7), (-973_932_308_i32 & 0x7fff_ffff) % 7);
    }
}
