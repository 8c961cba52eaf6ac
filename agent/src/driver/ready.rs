//! A system that reports READY to systemd before it starts the first unit.
//!
//! At boot, everything waits for the installer until nothing on the disk is half done, including the
//! units that the installer itself starts. Hence it must be ready before it starts the first of them.

use crate::{
    files::Root,
    install::{Change, Packages, Reload, Resource, State, System, SystemError, UnitReport},
};
use std::{path::PathBuf, time::Duration};
use unbox_common::{path::SafePath, payload::UnitName};

/// The device's system, and the callback to run before its first unit is started.
pub(super) struct ReadyBeforeUnits {
    device: Box<dyn System>,
    ready: Option<fn()>,
}

impl ReadyBeforeUnits {
    pub(super) fn new(device: Box<dyn System>, ready: fn()) -> Self {
        Self { device, ready: Some(ready) }
    }

    fn notify_ready(&mut self) {
        if let Some(ready) = self.ready.take() {
            ready();
        }
    }
}

impl System for ReadyBeforeUnits {
    fn change(&mut self, change: &Change, debs: &[PathBuf]) -> Result<(), SystemError> {
        if matches!(change.resource, Resource::UnitActivity(_)) {
            self.notify_ready();
        }
        self.device.change(change, debs)
    }

    fn check(&mut self, program: &SafePath, arguments: &[String], limit: Duration) -> Option<String> {
        self.notify_ready();
        self.device.check(program, arguments, limit)
    }

    fn root(&self) -> &Root {
        self.device.root()
    }

    fn covers(&self, resource: &Resource) -> bool {
        self.device.covers(resource)
    }

    fn look(&self, resource: &Resource) -> Result<State, SystemError> {
        self.device.look(resource)
    }

    fn packages(&self) -> &dyn Packages {
        self.device.packages()
    }

    fn covers_reload(&self, what: Reload) -> bool {
        self.device.covers_reload(what)
    }

    fn reload(&mut self, what: Reload) -> Result<(), SystemError> {
        self.device.reload(what)
    }

    fn unit(&mut self, unit: &UnitName) -> Result<UnitReport, SystemError> {
        self.device.unit(unit)
    }
}
