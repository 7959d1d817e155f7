//! Random numbers that tell runs apart. No result depends on them.

use crate::error::Error;
use std::fs::File;
use std::io::Read;

/// 128 random bits from the kernel.
pub fn random() -> Result<[u64; 2], Error> {
    let mut bytes = [0; 16];
    let read = File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes));
    read.map_err(|error| Error::internal(format!("/dev/urandom: {error}")))?;
    let number = u128::from_le_bytes(bytes);
    Ok([number as u64, (number >> 64) as u64])
}
