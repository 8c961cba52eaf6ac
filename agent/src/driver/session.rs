//! The context shared by all commands, and the wait before a retry.

use super::error::DriverError;
use crate::{
    boot::{self, BootContext, Layout, Medium, StartingPoint},
    clock::{self, Waits},
    console::{Console, Situation},
    entropy::Entropy,
    exit::Exit,
    failure::Failure,
    files::{self, FilesError},
    handshake::{
        CertificateChain, DeviceKey,
        key_file::{self, make_exchange},
    },
    http::{Client, ClientSettings, Refusal},
    pacer::Pacer,
    retry::{self, Tries},
};
use std::{fs::File, os::unix::fs::MetadataExt as _, sync::Arc, time::Duration};
use unbox_common::identity::HardwareIdentity;

/// Interval at which a device that waits for a token checks for a new medium.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The state of one agent process.
pub(crate) struct Session {
    pub(crate) from: StartingPoint,
    pub(crate) layout: Layout,
    pub(super) console: Console,
    pub(super) entropy: Entropy,
    pub(super) tries: Tries,
    pub(super) pacer: Pacer,
    waits: Arc<dyn Waits>,
    /// The removable media present at the last look.
    media: Vec<Medium>,
}

impl Session {
    pub(crate) fn new(
        from: StartingPoint,
        console: Console,
        attempts: Option<u32>,
        waits: Arc<dyn Waits>,
    ) -> Self {
        let layout = Layout::new(&from.root);
        let pacer = if from.is_unit {
            Pacer::kept_in(layout.pace(), Arc::clone(&waits))
        } else {
            Pacer::new(Arc::clone(&waits))
        };
        Self {
            layout,
            from,
            console,
            entropy: Entropy::system(),
            tries: Tries::new(attempts),
            pacer,
            waits,
            media: Vec::new(),
        }
    }

    /// Reads settings and trust. Repeated at every try: an administrator may have corrected them in
    /// between, and a newer signing root may have arrived.
    pub(super) fn context(&mut self) -> Result<BootContext, Failure> {
        let context = boot::io::start(&self.from)?;
        if let Some(skew) = context.time().skew {
            self.console.say(Situation::ClockSkewed(skew));
        }
        Ok(context)
    }

    /// Handles a failed try: waits until the next one, or gives up with an exit status.
    pub(super) async fn wait_for_retry(
        &mut self,
        failure: &Failure,
        identity: Option<&HardwareIdentity>,
    ) -> Result<(), Exit> {
        self.tries.fail();
        let random = self.entropy.number().unwrap_or(u64::MAX);
        let pause = retry::pause(failure.disposition(), self.tries.failures(), random, failure.hint())
            .map(|pause| pause.min(failure.longest_pause()));
        let asks_for_a_token = failure.cause().is_some_and(Refusal::asks_for_a_token);
        if asks_for_a_token {
            self.print_new_media(boot::io::media(&self.from).0);
        }
        match pause {
            Some(pause) if !self.tries.are_used_up() => {
                self.console.say(Situation::Waiting { failure, pause, identity });
                if asks_for_a_token {
                    self.wait_for_medium(pause).await;
                } else {
                    self.sleep(pause).await;
                }
                Ok(())
            }
            _ => {
                self.console.say(Situation::Stopped { failure, identity });
                Err(Exit::from_failure(failure))
            }
        }
    }

    /// Waits for `pause`, or until somebody plugs in a medium with a token.
    async fn wait_for_medium(&mut self, pause: Duration) {
        let (mut left, (_, before)) = (pause, boot::io::media(&self.from));
        while !left.is_zero() {
            let step = left.min(LOOK_EVERY);
            self.sleep(step).await;
            left = left.saturating_sub(step);
            let (media, token) = boot::io::media(&self.from);
            self.print_new_media(media);
            if token.is_some() && token != before {
                return;
            }
        }
    }

    /// Prints the result of each new medium.
    fn print_new_media(&mut self, media: Vec<Medium>) {
        for medium in media.iter().filter(|one| !self.media.contains(one)) {
            self.console.say(Situation::Medium(medium));
        }
        self.media = media;
    }

    /// Makes a client for messages to the server, at the pace of this device.
    pub(super) fn client(
        &self,
        context: &BootContext,
        certificate: Option<(&CertificateChain, &DeviceKey)>,
    ) -> Result<Client, Failure> {
        let certificate = certificate.map(|(chain, key)| chain.certified_key(key)).transpose()?;
        let pacer = Some(&self.pacer);
        let of_context = context.client_settings();
        Ok(Client::new(&ClientSettings { certificate: certificate.as_ref(), pacer, ..of_context })?)
    }

    /// Makes sure that no other process of the network side is active, and that files written to the
    /// exchange belong to its owner. The lock is held until dropped.
    pub(super) fn lock_exchange(&mut self) -> Result<Option<File>, Failure> {
        if make_exchange(&self.layout)? {
            let so = "The device enrolls again, with a new key.";
            self.console.say(Situation::StateDamaged { what: "The folder of the network side", so });
        }
        let exchange = self.layout.exchange();
        let owner =
            exchange.metadata().map_err(|source| FilesError::Read { path: exchange.clone(), source })?;
        if owner.uid() != nix::unistd::geteuid().as_raw() {
            return Err(DriverError::NotOwner(exchange).into());
        }
        let (file, _) = files::open_growing(&self.layout.exchange_lock(), files::PRIVATE_FILE)?;
        Ok(file.try_lock().is_ok().then_some(file))
    }

    /// Makes sure that key and enrollment belong to this machine before they are used.
    pub(super) fn bind_key(&mut self, identity: &HardwareIdentity) -> Result<(), Failure> {
        if key_file::bind_to_machine(&self.layout, identity)? {
            self.console.say(Situation::OtherMachine);
        }
        Ok(())
    }

    /// Returns the system clock, by which check-ins are due: even a wrong clock measures elapsed time.
    pub(super) fn system_clock(&self) -> unbox_common::timestamp::Timestamp {
        self.waits.system()
    }

    /// Sleeps for `pause`.
    pub(super) async fn sleep(&self, pause: Duration) {
        self.waits.wait(pause).await;
    }

    /// Returns the time for reports.
    pub(super) fn now(context: &BootContext) -> unbox_common::timestamp::Timestamp {
        context.time().now.max(clock::build_date())
    }
}
