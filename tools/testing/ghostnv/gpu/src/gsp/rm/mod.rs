// SPDX-License-Identifier: GPL-2.0 OR MIT

//! RM's server: a tree of objects that clients allocate, control and free.
//!
//! Objects are keyed by (client, handle). A client is the root of its own tree; below it come a
//! device, its subdevice, address spaces and channels, and below a channel the engine objects.
//! Freeing an object frees what is below it. Every mistake gets RM's status, and because no correct
//! driver makes it, it is also a violation: `rm-handle` (unknown, taken or dead), `rm-class` (wrong
//! kind of object), `rm-params` (wrong size or contents of parameters).
//!
//! One file a family; each has a table of its controls and constructors of its classes.

mod ce;
mod channel;
mod class;
mod event;
mod gr;
mod group;
mod internal;
mod memory;
mod power;
mod promote;
mod root;
#[cfg(test)]
mod tests;
mod vaspace;
mod vram;

use std::collections::{BTreeMap, BTreeSet};

use super::function::{Outcome, Status};
use crate::chip::Chip;
use crate::host::Host;
use crate::machine::Machine;
use channel::Channel;
use event::Event;
use group::Group;
use root::Subdevice;
use vaspace::VaSpace;

pub use power::LEVEL_SUSPEND;
pub use vram::Vram;

/// The client through which the driver uses controls that are RM's own.
pub const INTERNAL_CLIENT: u32 = 0xc200_0005;
/// Its device.
pub const INTERNAL_DEVICE: u32 = 0xabcd_0080;
/// Its subdevice.
pub const INTERNAL_SUBDEVICE: u32 = 0xabcd_2080;
/// First handle that RM makes up when the client gives none.
const GENERATED: u32 = 0xcaf0_8000;
/// Numbers of classes have 16 bits.
const MAX_CLASS: u32 = 0xffff;
/// Most objects at a time.
const MAX_OBJECTS: usize = 65536;

/// What the driver asks for in GSP_RM_ALLOC.
#[derive(Debug, Clone, Copy)]
pub struct Allocation {
    /// Client.
    pub client: u32,
    /// Handle of the parent.
    pub parent: u32,
    /// Handle of the new object, or 0 to let RM choose.
    pub handle: u32,
    /// Class.
    pub class: u32,
}

/// Kinds of objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// NV01_ROOT.
    Client,
    /// NV01_DEVICE_0.
    Device,
    /// NV20_SUBDEVICE_0.
    Subdevice,
    /// An object of an engine, on a channel.
    Engine,
    /// A GPFIFO channel.
    Channel,
    /// A channel group.
    Group,
    /// FERMI_VASPACE_A.
    VaSpace,
    /// A list of pages.
    Memory,
    /// NV01_EVENT.
    Event,
    /// An object without behaviour here (usermode page).
    Plain,
}

/// What an object is.
enum Body {
    Client,
    Device,
    Subdevice(Subdevice),
    Engine { chid: u32 },
    Channel(Box<Channel>),
    Group(Group),
    VaSpace(VaSpace),
    Memory,
    Event(Event),
    Plain,
}

impl Body {
    fn kind(&self) -> Kind {
        match self {
            Self::Client => Kind::Client,
            Self::Device => Kind::Device,
            Self::Subdevice(_) => Kind::Subdevice,
            Self::Engine { .. } => Kind::Engine,
            Self::Channel(_) => Kind::Channel,
            Self::Group(_) => Kind::Group,
            Self::VaSpace(_) => Kind::VaSpace,
            Self::Memory => Kind::Memory,
            Self::Event(_) => Kind::Event,
            Self::Plain => Kind::Plain,
        }
    }
}

struct Object {
    class: u32,
    parent: u32,
    children: BTreeSet<u32>,
    body: Body,
}

/// Client and handle.
type Key = (u32, u32);

/// One control.
struct Control {
    /// Its number.
    cmd: u32,
    /// The kind of object that has it.
    on: Kind,
    /// Size of its parameters.
    size: usize,
    /// Runs it.
    run: fn(&mut Rm, &mut Machine, Key, &mut [u8]) -> Outcome,
}

/// All controls, by family.
const CONTROLS: &[&[Control]] = &[
    ce::CONTROLS,
    channel::CONTROLS,
    event::CONTROLS,
    gr::CONTROLS,
    group::CONTROLS,
    internal::CONTROLS,
    power::CONTROLS,
    promote::CONTROLS,
    vaspace::CONTROLS,
];

/// What one takes: the kinds of objects that it is for, its number, a size of its parameters.
pub type Taken = (&'static [Kind], u32, usize);

/// Every control, with what it takes.
pub fn controls() -> impl Iterator<Item = Taken> {
    let taken = |c: &'static Control| (std::slice::from_ref(&c.on), c.cmd, c.size);
    CONTROLS.iter().copied().flatten().map(taken)
}

/// Every class but the client's, below what it may be, once for each size of its parameters.
pub fn classes(chip: &Chip) -> impl Iterator<Item = Taken> {
    let found = |number| class::find(chip, number).map(|class| (number, class));
    (0..=MAX_CLASS).filter_map(found).flat_map(|(number, class)| {
        class.sizes.iter().map(move |size| (class.parents, number, *size))
    })
}

/// RM.
pub struct Rm {
    /// Who uses which part of VRAM.
    pub vram: Vram,
    objects: BTreeMap<Key, Object>,
    generated: u32,
    /// Channels while the GPU is suspended.
    host: Option<Host>,
}

impl Rm {
    /// RM without clients but its own.
    pub fn new(hw: &mut Machine, info: &super::BootInfo) -> Option<Self> {
        let vram = Vram::new(hw, info)?;
        let mut rm = Self { vram, objects: BTreeMap::new(), generated: GENERATED, host: None };
        let client = INTERNAL_CLIENT;
        rm.insert((client, client), root::CLIENT, client, Body::Client);
        rm.insert((client, INTERNAL_DEVICE), root::DEVICE, client, Body::Device);
        let body = Body::Subdevice(Subdevice::default());
        rm.insert((client, INTERNAL_SUBDEVICE), root::SUBDEVICE, INTERNAL_DEVICE, body);
        Some(rm)
    }

    /// GSP_RM_ALLOC: makes an object and returns its handle.
    pub fn alloc(&mut self, hw: &mut Machine, ask: &Allocation, params: &mut [u8]) -> Outcome<u32> {
        let mut ask = *ask;
        if ask.class == root::CLIENT {
            return self.alloc_client(hw, &ask, params);
        }
        let parent = self.parent_kind(hw, &ask)?;
        if ask.handle == 0 {
            ask.handle = self.generate(ask.client);
        }
        self.check_new(hw, (ask.client, ask.handle))?;
        let Some(class) = class::find(hw.chip, ask.class) else {
            hw.env.violation("rm-class", format!("unknown class {:#x}", ask.class));
            return Err(Status::INVALID_CLASS);
        };
        if !class.parents.contains(&parent) {
            let text = format!("class {:#x} below a {parent:?}", ask.class);
            hw.env.violation("rm-class", text);
            return Err(Status::INVALID_OBJECT_PARENT);
        }
        if !class.sizes.contains(&params.len()) {
            let text = format!("class {:#x} with {} bytes", ask.class, params.len());
            hw.env.violation("rm-params", text);
            return Err(Status::INVALID_PARAM_STRUCT);
        }
        let body = (class.make)(self, hw, &ask, params)?;
        self.insert((ask.client, ask.handle), ask.class, ask.parent, body);
        Ok(ask.handle)
    }

    /// GSP_RM_CONTROL.
    pub fn control(
        &mut self,
        hw: &mut Machine,
        client: u32,
        object: u32,
        cmd: u32,
        params: &mut [u8],
    ) -> Outcome {
        let kind = self.kind(hw, (client, object))?;
        let Some(control) = CONTROLS.iter().copied().flatten().find(|c| c.cmd == cmd) else {
            hw.env.judge.note(format!("rm control {cmd:#010x} not supported"));
            return Err(Status::NOT_SUPPORTED);
        };
        if control.on != kind {
            let text = format!("control {cmd:#010x} on a {kind:?} ({object:#x})");
            hw.env.violation("rm-class", text);
            return Err(Status::NOT_SUPPORTED);
        }
        if control.size != params.len() {
            let text = format!("control {cmd:#010x} with {} bytes", params.len());
            hw.env.violation("rm-params", text);
            return Err(Status::INVALID_PARAM_STRUCT);
        }
        (control.run)(self, hw, (client, object), params)
    }

    /// FREE: an object and everything below it.
    pub fn free(&mut self, hw: &mut Machine, client: u32, object: u32) -> Outcome {
        self.kind(hw, (client, object))?;
        if client == INTERNAL_CLIENT
            && [INTERNAL_CLIENT, INTERNAL_DEVICE, INTERNAL_SUBDEVICE].contains(&object)
        {
            hw.env.violation("rm-handle", format!("free of RM's own object {object:#x}"));
            return Err(Status::INVALID_ARGUMENT);
        }
        self.destroy(hw, (client, object));
        Ok(())
    }

    /// Objects of all clients but RM's own.
    pub fn objects(&self) -> u64 {
        self.objects.len().saturating_sub(3) as u64
    }

    /// Frees all objects.
    pub fn destroy_all(&mut self, hw: &mut Machine) {
        if self.objects() > 0 {
            hw.env.judge.note("objects left to RM at shutdown");
        }
        let roots: Vec<u32> =
            self.objects.keys().filter(|(client, handle)| client == handle).map(|k| k.0).collect();
        for client in roots {
            self.destroy(hw, (client, client));
        }
    }

    /// Destroys a subtree: channels before the address spaces that they use.
    fn destroy(&mut self, hw: &mut Machine, key: Key) {
        let Some(object) = self.objects.get_mut(&key) else { return };
        let children = std::mem::take(&mut object.children);
        let mut order: Vec<(Kind, u32)> = children
            .into_iter()
            .filter_map(|h| Some((self.objects.get(&(key.0, h))?.body.kind(), h)))
            .collect();
        order.sort_unstable();
        for (_, handle) in order {
            self.destroy(hw, (key.0, handle));
        }
        let Some(object) = self.objects.remove(&key) else { return };
        if let Some(parent) = self.objects.get_mut(&(key.0, object.parent)) {
            parent.children.remove(&key.1);
        }
        match object.body {
            Body::Channel(channel) => channel.destroy(hw),
            Body::VaSpace(space) => self.destroy_vaspace(hw, key, &space),
            Body::Engine { chid } => {
                let last = self.objects.get(&(key.0, object.parent)).is_none_or(|parent| {
                    let class = |h| self.objects.get(&(key.0, h)).map(|sibling| sibling.class);
                    !parent.children.iter().any(|&h| class(h) == Some(object.class))
                });
                if last {
                    hw.host.detach(chid, object.class);
                }
            }
            _ => {}
        }
    }

    fn insert(&mut self, key: Key, class: u32, parent: u32, body: Body) {
        self.objects.insert(key, Object { class, parent, children: BTreeSet::new(), body });
        if parent != key.1 {
            if let Some(parent) = self.objects.get_mut(&(key.0, parent)) {
                parent.children.insert(key.1);
            }
        }
    }

    /// A handle that is free in this client.
    fn generate(&mut self, client: u32) -> u32 {
        while self.objects.contains_key(&(client, self.generated)) {
            self.generated = self.generated.wrapping_add(1).max(1);
        }
        let handle = self.generated;
        self.generated = self.generated.wrapping_add(1).max(1);
        handle
    }

    /// A new handle must be free, and there must be room.
    fn check_new(&self, hw: &mut Machine, key: Key) -> Outcome {
        if self.objects.contains_key(&key) {
            let text = format!("handle {:#x} of client {:#x} is taken", key.1, key.0);
            hw.env.violation("rm-handle", text);
            return Err(Status::DUPLICATE);
        }
        if self.objects.len() >= MAX_OBJECTS {
            hw.env.judge.note("rm is out of objects");
            return Err(Status::INSUFFICIENT_RESOURCES);
        }
        Ok(())
    }

    fn parent_kind(&self, hw: &mut Machine, ask: &Allocation) -> Outcome<Kind> {
        self.check_client(hw, ask.client)?;
        match self.objects.get(&(ask.client, ask.parent)) {
            Some(parent) => Ok(parent.body.kind()),
            None => {
                let text = format!("class {:#x} below unknown {:#x}", ask.class, ask.parent);
                hw.env.violation("rm-handle", text);
                Err(Status::INVALID_OBJECT_PARENT)
            }
        }
    }

    fn kind(&self, hw: &mut Machine, key: Key) -> Outcome<Kind> {
        self.check_client(hw, key.0)?;
        match self.objects.get(&key) {
            Some(object) => Ok(object.body.kind()),
            None => {
                let text = format!("no object {:#x} in client {:#x}", key.1, key.0);
                hw.env.violation("rm-handle", text);
                Err(Status::OBJECT_NOT_FOUND)
            }
        }
    }

    fn check_client(&self, hw: &mut Machine, client: u32) -> Outcome {
        if self.objects.contains_key(&(client, client)) {
            return Ok(());
        }
        hw.env.violation("rm-handle", format!("no client {client:#x}"));
        Err(Status::INVALID_CLIENT)
    }

    /// All channels.
    fn channels(&mut self) -> impl Iterator<Item = &mut Channel> {
        self.objects.values_mut().filter_map(|object| match &mut object.body {
            Body::Channel(channel) => Some(&mut **channel),
            _ => None,
        })
    }

    /// The channel of a key that is known to name one.
    fn channel(&mut self, key: Key) -> Outcome<&mut Channel> {
        match self.objects.get_mut(&key).map(|object| &mut object.body) {
            Some(Body::Channel(channel)) => Ok(channel),
            _ => Err(Status::INVALID_CHANNEL),
        }
    }
}

/// Rejects parameters.
fn bad_params<T>(hw: &mut Machine, text: impl Into<String>) -> Outcome<T> {
    hw.env.violation("rm-params", text);
    Err(Status::INVALID_ARGUMENT)
}
