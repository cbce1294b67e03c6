// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Interrupts on the way out: the event descriptors that QEMU listens on.
//!
//! QEMU hands over a descriptor for the kind of interrupt that the guest turned on, so whichever is
//! set is the one in use: MSI-X before MSI before INTx. INTx is a level; the protocol makes it an
//! automatically masked event that is unmasked when the guest acknowledges it.

use rustix::fd::OwnedFd;
use rustix::io::Errno;

/// `VFIO_PCI_INTX_IRQ_INDEX`, MSI, MSI-X; the later ERR and REQ are not offered.
pub const INDEXES: u32 = 3;
const VECTORS: [u32; INDEXES as usize] = [1; INDEXES as usize];
const INTX: usize = 0;
const MSI: usize = 1;
const MSIX: usize = 2;

const DATA_NONE: u32 = 1;
const DATA_BOOL: u32 = 2;
const DATA_EVENTFD: u32 = 4;
const DATA: u32 = DATA_NONE | DATA_BOOL | DATA_EVENTFD;
const ACTION_MASK: u32 = 8;
const ACTION_UNMASK: u32 = 16;
const ACTION_TRIGGER: u32 = 32;
const ACTION: u32 = ACTION_MASK | ACTION_UNMASK | ACTION_TRIGGER;

/// `VFIO_IRQ_INFO_*`: event descriptors, maskable, automatically masked.
const INFO_INTX: u32 = 1 | 2 | 4;
const INFO_MESSAGE: u32 = 1 | 2 | 8;

/// One vector.
#[derive(Default)]
struct Vector {
    event: Option<OwnedFd>,
    masked: bool,
    /// Fired while masked.
    pending: bool,
}

impl Vector {
    fn fire(&mut self) {
        if self.masked {
            self.pending = true;
        } else if let Some(event) = &self.event {
            // A full counter means that the guest has an interrupt coming anyway.
            let _ = rustix::io::write(event, &1u64.to_ne_bytes());
        }
    }

    fn set_mask(&mut self, masked: bool) {
        self.masked = masked;
        if !masked && std::mem::take(&mut self.pending) {
            self.fire();
        }
    }
}

/// All vectors.
#[derive(Default)]
pub struct Irqs {
    /// INTx, MSI, MSI-X: one vector each.
    vectors: [Vector; INDEXES as usize],
}

impl Irqs {
    /// Flags and number of vectors of an index, for GET_IRQ_INFO.
    pub fn info(index: u32) -> Result<(u32, u32), Errno> {
        let count = *VECTORS.get(index as usize).ok_or(Errno::INVAL)?;
        Ok((if index as usize == INTX { INFO_INTX } else { INFO_MESSAGE }, count))
    }

    /// SET_IRQS.
    pub fn set(
        &mut self,
        flags: u32,
        index: u32,
        (start, count): (u32, u32),
        data: &[u8],
        fds: &mut Vec<OwnedFd>,
    ) -> Result<(), Errno> {
        let vectors = *VECTORS.get(index as usize).ok_or(Errno::INVAL)?;
        let end = start.checked_add(count).ok_or(Errno::INVAL)?;
        let one = |bits: u32| (flags & bits).count_ones() == 1;
        if end > vectors || !one(DATA) || !one(ACTION) || flags & !(DATA | ACTION) != 0 {
            return Err(Errno::INVAL);
        }
        let Some(vector) = self.vectors.get_mut(index as usize) else { return Ok(()) };
        if flags & (DATA_NONE | ACTION_TRIGGER) == DATA_NONE | ACTION_TRIGGER && count == 0 {
            *vector = Vector::default();
            return Ok(());
        }
        if count == 0 {
            return Ok(());
        }
        if flags & DATA_BOOL != 0 && *data.first().ok_or(Errno::INVAL)? == 0 {
            return Ok(());
        }
        match (flags & ACTION, flags & DATA) {
            (ACTION_TRIGGER, DATA_EVENTFD) => {
                vector.event = (!fds.is_empty()).then(|| fds.remove(0));
            }
            (_, DATA_EVENTFD) => return Err(Errno::OPNOTSUPP),
            (ACTION_TRIGGER, _) => vector.fire(),
            (action, _) => vector.set_mask(action == ACTION_MASK),
        }
        Ok(())
    }

    /// Sends a message-signalled interrupt.
    pub fn message(&mut self) {
        for index in [MSIX, MSI] {
            if self.vectors[index].event.is_some() {
                self.vectors[index].fire();
                return;
            }
        }
    }

    /// Whether INTx is what the guest uses.
    fn uses_intx(&self) -> bool {
        self.vectors[INTX].event.is_some()
            && self.vectors[MSI].event.is_none()
            && self.vectors[MSIX].event.is_none()
    }

    /// Follows the level of INTx.
    pub fn level(&mut self, asserted: bool) {
        if asserted && self.uses_intx() && !self.vectors[INTX].masked {
            self.vectors[INTX].fire();
            self.vectors[INTX].masked = true;
        }
    }

    /// Forgets everything (the client is gone).
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{EventfdFlags, eventfd};

    fn count(fd: &OwnedFd) -> u64 {
        let mut bytes = [0; 8];
        match rustix::io::read(fd, &mut bytes) {
            Ok(8) => u64::from_ne_bytes(bytes),
            _ => 0,
        }
    }

    #[test]
    fn message_and_level_interrupts_follow_their_masks() {
        let mut irqs = Irqs::default();
        let event = || eventfd(0, EventfdFlags::NONBLOCK).unwrap();
        let (intx, msi) = (event(), event());
        let set = |irqs: &mut Irqs, flags, index, n, fd: Option<&OwnedFd>| {
            let mut fds: Vec<_> = fd.into_iter().map(|f| f.try_clone().unwrap()).collect();
            irqs.set(flags, index, (0, n), &[], &mut fds)
        };
        set(&mut irqs, DATA_EVENTFD | ACTION_TRIGGER, 0, 1, Some(&intx)).unwrap();
        irqs.level(true);
        irqs.level(true);
        assert_eq!(count(&intx), 1);
        set(&mut irqs, DATA_NONE | ACTION_UNMASK, 0, 1, None).unwrap();
        irqs.level(true);
        assert_eq!(count(&intx), 1);

        set(&mut irqs, DATA_EVENTFD | ACTION_TRIGGER, 1, 1, Some(&msi)).unwrap();
        set(&mut irqs, DATA_NONE | ACTION_UNMASK, 0, 1, None).unwrap();
        irqs.level(true);
        irqs.message();
        assert_eq!((count(&intx), count(&msi)), (0, 1));
        set(&mut irqs, DATA_NONE | ACTION_MASK, 1, 1, None).unwrap();
        irqs.message();
        assert_eq!(count(&msi), 0);
        set(&mut irqs, DATA_NONE | ACTION_UNMASK, 1, 1, None).unwrap();
        assert_eq!(count(&msi), 1);
        set(&mut irqs, DATA_NONE | ACTION_TRIGGER, 1, 0, None).unwrap();
        irqs.message();
        assert_eq!(count(&msi), 0);

        assert_eq!(set(&mut irqs, DATA_NONE, 1, 1, None), Err(Errno::INVAL));
        assert_eq!(set(&mut irqs, DATA_NONE | ACTION_MASK, 1, 2, None), Err(Errno::INVAL));
        assert_eq!(set(&mut irqs, DATA_NONE | ACTION_MASK, 9, 1, None), Err(Errno::INVAL));
    }
}
