// SPDX-License-Identifier: GPL-2.0

//! The objects that a client has made by NVIF.

use kernel::{
    prelude::*,
    rbtree::RBTree, //
};

/// Objects that one client may have; NVK has a handful.
const OBJECTS_MAX: usize = 1024;

/// What an object of a client is.
pub(super) enum Object<T> {
    /// The device.
    Device,
    /// An object of an engine on a channel.
    Engine { channel: u32, _object: T },
}

/// The objects that a client has made, by the numbers it gave them.
pub(crate) struct Objects<T> {
    objects: RBTree<u64, Object<T>>,
    count: usize,
}

impl<T> Objects<T> {
    /// No objects.
    pub(crate) fn new() -> Self {
        Self {
            objects: RBTree::new(),
            count: 0,
        }
    }

    /// Checks that a number can be given to an object.
    ///
    /// # Errors
    ///
    /// `EEXIST` if it is taken, `ENOSPC` if the client has too many objects.
    pub(crate) fn check_free(&self, object: u64) -> Result {
        if self.objects.get(&object).is_some() {
            return Err(EEXIST);
        }
        if self.count >= OBJECTS_MAX {
            return Err(ENOSPC);
        }
        Ok(())
    }

    pub(super) fn insert(&mut self, object: u64, what: Object<T>) -> Result {
        self.check_free(object)?;
        self.objects
            .try_create_and_insert(object, what, GFP_KERNEL)?;
        self.count += 1;
        Ok(())
    }

    /// Adds an object of an engine.
    pub(crate) fn insert_engine(&mut self, object: u64, channel: u32, what: T) -> Result {
        self.insert(
            object,
            Object::Engine {
                channel,
                _object: what,
            },
        )
    }

    pub(super) fn delete(&mut self, object: u64) {
        if self.objects.remove(&object).is_some() {
            self.count -= 1;
        }
    }

    pub(super) fn is_device(&self, object: u64) -> bool {
        matches!(self.objects.get(&object), Some(Object::Device))
    }

    /// Deletes all objects on a channel.
    pub(crate) fn delete_channel(&mut self, channel: u32) {
        loop {
            let found = self.objects.iter().find_map(|(number, what)| match what {
                Object::Engine { channel: on, .. } if *on == channel => Some(*number),
                _ => None,
            });
            match found {
                Some(number) => self.delete(number),
                None => break,
            }
        }
    }
}

#[cfg(CONFIG_DRM_GHOSTNV_KUNIT_TEST)]
#[kunit_tests(ghostnv_nvif_objects)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_the_clients() -> Result {
        let mut objects: Objects<()> = Objects::new();
        let engine = |channel| Object::Engine {
            channel,
            _object: (),
        };

        objects.insert(1, Object::Device)?;
        assert!(objects.insert(1, Object::Device) == Err(EEXIST));
        objects.insert(2, engine(5))?;
        objects.insert(3, engine(6))?;
        objects.insert(4, engine(5))?;
        assert!(objects.is_device(1) && !objects.is_device(2) && !objects.is_device(9));
        objects.delete_channel(5);
        assert_eq!(objects.count, 2);
        objects.insert(2, Object::Device)?;
        objects.delete(2);
        objects.delete(2);
        assert_eq!(objects.count, 2);
        Ok(())
    }
}
