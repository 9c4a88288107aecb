//! Snapshots: whatever the bytes, reading returns; what was read is written and read again alike.

use learnd::state::Snapshot;

const BEFORE_HASH: &[u8] = br#"{"__metadata__":{"blake3":""#;
const BEFORE_BYTES: &[u8] = br#"","bytes":""#;
const HASH_AT: usize = 8 + BEFORE_HASH.len();
const BYTES_AT: usize = HASH_AT + 64 + BEFORE_BYTES.len();
const HEAD: usize = BYTES_AT + 20;

/// Makes length and checksum right, so that what lies behind them is reached.
fn seal(bytes: &mut [u8]) {
    let length = format!("{:020}", bytes.len());
    bytes[8..HASH_AT].copy_from_slice(BEFORE_HASH);
    bytes[HASH_AT..HASH_AT + 64].fill(b'0');
    bytes[HASH_AT + 64..BYTES_AT].copy_from_slice(BEFORE_BYTES);
    bytes[BYTES_AT..HEAD].copy_from_slice(length.as_bytes());
    let hash = blake3::hash(bytes).to_hex();
    bytes[HASH_AT..HASH_AT + 64].copy_from_slice(hash.as_bytes());
}

fn read(bytes: &[u8]) -> bool {
    let Ok(snapshot) = Snapshot::decode(bytes) else {
        return false;
    };
    let written = snapshot.encode();
    let again = Snapshot::decode(&written).expect("what was written can be read");
    assert_eq!(again.encode(), written);
    assert_eq!(again.digest(), snapshot.digest());
    true
}

/// The data as a file; as a file whose length and checksum fit; and that file damaged.
pub fn check(data: &[u8]) {
    read(data);
    if data.len() < HEAD {
        return;
    }
    let mut bytes = data.to_vec();
    seal(&mut bytes);
    if read(&bytes) {
        let at = data.iter().map(|b| usize::from(*b)).sum::<usize>() % bytes.len();
        bytes[at] ^= 1;
        assert!(
            Snapshot::decode(&bytes).is_err(),
            "byte {at} is not covered"
        );
    }
}
