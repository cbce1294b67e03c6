// SPDX-License-Identifier: GPL-2.0

//! Memory for messages, all of it there before it is needed.
//!
//! A call may have to be made so that a fence signals, and memory is waited for by waiting for
//! fences. So whoever holds the conversation with the firmware must not allocate: what does not fit
//! is an error. It would also be unknown what the firmware did, if a reply could not be kept.

use core::ops::{
    Deref,
    DerefMut, //
};

use kernel::prelude::*;

/// Bytes, up to a number that was fixed when it was made.
pub(crate) struct Buffer(KVVec<u8>);

impl Buffer {
    /// An empty one that has room for `capacity` bytes. May sleep.
    pub(crate) fn new(capacity: usize) -> Result<Self> {
        Ok(Self(KVVec::with_capacity(capacity, GFP_KERNEL)?))
    }

    /// Forgets what is in it.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// Adds bytes at the end; `EMSGSIZE` if there is no room for all of them, and adds none then.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> Result {
        if bytes.len() > self.0.capacity() - self.0.len() {
            return Err(EMSGSIZE);
        }
        // There is room, so nothing is allocated.
        Ok(self.0.extend_from_slice(bytes, GFP_NOWAIT)?)
    }

    /// Adds zeros at the end; `EMSGSIZE` if there is no room for all of them.
    ///
    /// By copying, as `resize()` costs a dozen instructions for each byte.
    pub(crate) fn append_zeros(&mut self, mut count: usize) -> Result {
        static ZEROS: [u8; 4096] = [0; 4096];

        while count > 0 {
            let part = ZEROS.get(..count).unwrap_or(&ZEROS);
            self.append(part)?;
            count -= part.len();
        }
        Ok(())
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

#[cfg(CONFIG_DRM_GHOSTNV_KUNIT_TEST)]
#[kunit_tests(ghostnv_gsp_buffer)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_not_there() -> Result {
        let mut buffer = Buffer::new(10_000)?;
        let capacity = buffer.0.capacity();

        buffer.append(&[7; 100])?;
        buffer.append_zeros(9_000)?;
        assert_eq!((buffer.len(), buffer[99], buffer[100]), (9_100, 7, 0));
        buffer.append_zeros(capacity - 9_100)?;
        assert_eq!(buffer.append(&[1]), Err(EMSGSIZE));
        assert_eq!(buffer.append_zeros(1), Err(EMSGSIZE));
        assert_eq!((buffer.len(), buffer.0.capacity()), (capacity, capacity));
        buffer.clear();
        assert!(buffer.is_empty());
        buffer.append_zeros(capacity)?;
        assert_eq!(buffer.0.capacity(), capacity);
        Ok(())
    }
}
