// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Pushbuffers: method headers and the few methods that the clients use.

/// Subchannel on which a copy class sits without being bound.
const COPY: u32 = 4;

/// Launch a copy: not pipelined, flush, pitch layout on both sides, one line.
const LAUNCH_COPY: u32 = 0x186;

/// Acquire a 32-bit semaphore until it equals the payload, giving up the timeslice.
const SEM_ACQUIRE: u32 = 1 << 12;

/// Release a 32-bit semaphore.
const SEM_RELEASE: u32 = 1 | 1 << 20;

/// A pushbuffer under construction.
#[derive(Debug, Default, Clone)]
pub struct Pushbuf(Vec<u32>);

impl Pushbuf {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Methods at increasing addresses.
    pub fn methods(mut self, subchannel: u32, method: u32, values: &[u32]) -> Self {
        let count = values.len() as u32 & 0x1fff;
        self.0.push(1 << 29 | count << 16 | subchannel << 13 | method >> 2);
        self.0.extend(values);
        self
    }

    /// A copy of `len` bytes.
    pub fn copy(self, src: u64, dst: u64, len: u32) -> Self {
        let [src, dst] = [src, dst].map(|va| [(va >> 32) as u32, va as u32]);
        self.methods(COPY, 0x400, &[src[0], src[1], dst[0], dst[1]])
            .methods(COPY, 0x418, &[len, 1])
            .methods(COPY, 0x300, &[LAUNCH_COPY])
    }

    /// A wait, by the host, until the word at `va` is `value`.
    pub fn acquire(self, va: u64, value: u32) -> Self {
        self.methods(0, 0x5c, &[va as u32, (va >> 32) as u32, value, 0, SEM_ACQUIRE])
    }

    /// A store, by the host, of a word at `va` once what came before is done.
    pub fn release(self, va: u64, value: u32) -> Self {
        self.methods(0, 0x5c, &[va as u32, (va >> 32) as u32, value, 0, SEM_RELEASE])
    }

    /// Its words.
    pub fn words(&self) -> &[u32] {
        &self.0
    }

    /// Its bytes.
    pub fn bytes(&self) -> Vec<u8> {
        self.0.iter().flat_map(|w| w.to_le_bytes()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_what_nvk_sends() {
        let push = Pushbuf::new().copy(0x12_3456_7890, 0x1000, 77);
        assert_eq!(push.words()[..3], [0x2004_8100, 0x12, 0x3456_7890]);
        assert_eq!(push.words()[5..], [0x2002_8106, 77, 1, 0x2001_80c0, 0x186]);
    }
}
