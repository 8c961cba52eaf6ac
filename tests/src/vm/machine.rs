//! A virtual machine in its box: its hardware, before it is switched on.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::board::Board;
use super::device_tree::DeviceTree;
use super::disk::FactoryFile;
use super::image::{Image, SERVER_ADDRESS};
use super::running::Vm;
use super::smbios::{Smbios, escape_commas};

/// A global address from the range that RFC 7042 sets aside for documentation.
const MAC: &str = "00:00:5e:00:53:01";

/// A machine that has not been started: describe it, then [`start`](Machine::start) it.
#[derive(Debug, Clone)]
pub struct Machine {
    pub(super) name: String,
    pub(super) image: Image,
    pub(super) files: Vec<FactoryFile>,
    board: Board,
    mac: String,
    forwards: Vec<(u16, SocketAddr)>,
    credentials: Vec<(String, String)>,
    rtc: Option<String>,
    tpm: Option<PathBuf>,
    kernel_words: Vec<String>,
    qemu_arguments: Vec<String>,
}

/// The files and sockets of one boot of a machine.
#[derive(Debug)]
pub(super) struct Wiring<'a> {
    pub(super) disk: &'a Path,
    pub(super) console: &'a Path,
    pub(super) shell: &'a Path,
    pub(super) qmp: &'a Path,
    pub(super) device_tree: &'a Path,
}

impl Machine {
    /// Makes a machine with this image on its disk, no identity, and no way out of its network.
    #[must_use]
    pub fn new(image: &Image) -> Self {
        Self {
            name: "device".to_owned(),
            image: image.clone(),
            files: Vec::new(),
            board: Board::of(image.machine),
            mac: MAC.to_owned(),
            forwards: Vec::new(),
            credentials: Vec::new(),
            rtc: None,
            tpm: None,
            kernel_words: Vec::new(),
            qemu_arguments: Vec::new(),
        }
    }

    /// Names the machine; two machines of one test need two names.
    #[must_use]
    pub fn name(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// Gives it an identity in the form of PCs.
    #[must_use]
    pub fn smbios(mut self, smbios: Smbios) -> Self {
        self.board = Board::Pc(Box::new(smbios));
        self
    }

    /// Gives it an identity in the form of ARM boards.
    #[must_use]
    pub fn device_tree(mut self, tree: DeviceTree) -> Self {
        self.board = Board::Arm(tree);
        self
    }

    /// Gives its network interface another permanent address.
    #[must_use]
    pub fn mac(mut self, address: &str) -> Self {
        address.clone_into(&mut self.mac);
        self
    }

    /// Plugs in one more network card, with this permanent address and a cable that leads nowhere.
    #[must_use]
    pub fn network_card(self, address: &str) -> Self {
        let cable = format!("cable-{}", self.qemu_arguments.len());
        self.qemu_arguments(&[
            "-netdev",
            &format!("user,id={cable},restrict=on"),
            "-device",
            &format!("virtio-net-pci,netdev={cable},mac={address},romfile="),
        ])
    }

    /// Lets the guest reach `to` on this host at `port` of [`SERVER_NAME`](super::SERVER_NAME), and nothing
    /// else.
    #[must_use]
    pub fn guest_forward(mut self, port: u16, to: SocketAddr) -> Self {
        self.forwards.push((port, to));
        self
    }

    /// Puts a file into the factory's image, so that it survives a factory reset, too; its directories are
    /// made.
    #[must_use]
    pub fn file(mut self, path: &str, bytes: impl Into<Vec<u8>>, mode: u32) -> Self {
        self.files.push(FactoryFile { path: path.to_owned(), bytes: bytes.into(), mode });
        self
    }

    /// Hands systemd a credential through the firmware.
    #[must_use]
    pub fn credential(mut self, name: &str, value: &str) -> Self {
        self.credentials.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sets the clock that the firmware shows at every boot, as `2001-01-01T00:00:00` in UTC.
    #[must_use]
    pub fn rtc(mut self, time: &str) -> Self {
        self.rtc = Some(time.to_owned());
        self
    }

    /// Solders on the TPM whose simulation listens at this socket, whichever one does at each boot.
    #[must_use]
    pub fn tpm(mut self, socket: &Path) -> Self {
        self.tpm = Some(socket.to_owned());
        self
    }

    /// Adds a word to the kernel's command line.
    #[must_use]
    pub fn kernel_word(mut self, word: &str) -> Self {
        self.kernel_words.push(word.to_owned());
        self
    }

    /// Adds arguments for QEMU, for hardware that only one test needs.
    #[must_use]
    pub fn qemu_arguments(mut self, arguments: &[&str]) -> Self {
        self.qemu_arguments.extend(arguments.iter().map(|&argument| argument.to_owned()));
        self
    }

    /// Takes the machine out of its box and switches it on.
    ///
    /// It dies with the thread that starts it, no matter how that ends.
    pub fn start(self) -> Result<Vm> {
        Vm::new(self)
    }

    /// Writes the device tree that the board has, if it has one.
    pub(super) fn write_device_tree(&self, blob: &Path) -> Result<()> {
        match &self.board {
            Board::Arm(tree) => tree.write(&self.hardware(), blob),
            Board::Pc(_) => Ok(()),
        }
    }

    /// Returns the whole command line of one boot.
    pub(super) fn command_line(&self, wiring: &Wiring<'_>) -> Vec<String> {
        let mut line = self.hardware();
        line.extend(words(
            "-no-reboot -object rng-random,id=entropy,filename=/dev/urandom -device virtio-rng-pci,rng=entropy",
        ));
        let path = |path: &Path| escape_commas(&path.to_string_lossy());
        let mut add = |option: &str, value: String| line.extend([option.to_owned(), value]);
        add("-kernel", self.image.kernel.to_string_lossy().into_owned());
        add("-append", self.kernel_line());
        // writeback, because it honours the guest's flushes: synced data survives the power cut, and no more.
        add(
            "-drive",
            format!("if=none,id=disk,file={},format=qcow2,cache=writeback,discard=unmap", path(wiring.disk)),
        );
        add("-device", "nvme,drive=disk,serial=DISK0001".to_owned());
        add("-chardev", format!("file,id=console,path={}", path(wiring.console)));
        add("-serial", "chardev:console".to_owned());
        add("-chardev", format!("socket,id=shell,path={}", path(wiring.shell)));
        let [option, value] = self.board.kind().shell_device;
        add(option, value.to_owned());
        add("-qmp", format!("unix:{},server=on,wait=off", path(wiring.qmp)));
        add("-netdev", self.network());
        add("-device", format!("virtio-net-pci,netdev=cable,id=nic,mac={},romfile=", self.mac));
        if let Some(time) = &self.rtc {
            add("-rtc", format!("base={time}"));
        }
        line.extend(self.board.identity(wiring.device_tree));
        for (name, value) in &self.credentials {
            line.extend(self.board.credential(name, value));
        }
        line.extend(self.qemu_arguments.iter().cloned());
        line
    }

    /// Returns QEMU's program with the soldered hardware: the part that a device tree describes.
    fn hardware(&self) -> Vec<String> {
        let kind = self.board.kind();
        let mut line = words(kind.qemu);
        line.extend(words("-smp 1 -m 512 -nodefaults -no-user-config -display none"));
        if let Some(socket) = &self.tpm {
            let socket = escape_commas(&socket.to_string_lossy());
            line.extend(["-chardev".to_owned(), format!("socket,id=tpm,path={socket}")]);
            line.extend(["-tpmdev".to_owned(), "emulator,id=tpm,chardev=tpm".to_owned()]);
            line.extend(["-device".to_owned(), format!("{},tpmdev=tpm", kind.tpm)]);
        }
        line
    }

    fn kernel_line(&self) -> String {
        // One request at a time: of a batch, as when ext4 replays its journal, QEMU 7.2 may lose some, and
        // such a boot hangs.
        let kind = self.board.kind();
        let mut line = format!(
            "root=/dev/nvme0n1 nvme.io_queue_depth=2 rw console={} panic=-1 quiet backdoor={}",
            kind.console, kind.shell
        );
        for word in &self.kernel_words {
            line.push(' ');
            line.push_str(word);
        }
        line
    }

    /// Returns user-mode networking that reaches the forwarded ports only: `restrict` blocks everything else.
    fn network(&self) -> String {
        let mut network = "user,id=cable,restrict=on".to_owned();
        for (port, to) in &self.forwards {
            network.push_str(&forward(*port, *to));
        }
        network
    }
}

/// Returns one program per connection: QEMU's own `guestfwd` to a socket carries a single connection only.
fn forward(port: u16, to: SocketAddr) -> String {
    let family = if to.is_ipv4() { "TCP4" } else { "TCP6" };
    format!(",guestfwd=tcp:{SERVER_ADDRESS}:{port}-cmd:socat - {family}:{to}")
}

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::architecture::Architecture;

    fn line(machine: &Machine) -> Vec<String> {
        let at = Path::new("/run/a,b");
        machine.command_line(&Wiring { disk: at, console: at, shell: at, qmp: at, device_tree: at })
    }

    fn machine() -> Machine {
        machine_of(Architecture::Amd64)
    }

    fn machine_of(machine: Architecture) -> Machine {
        Machine::new(&Image { disk: "/x.raw".into(), kernel: "/vmlinuz".into(), machine })
    }

    #[test]
    fn a_guest_reaches_what_is_forwarded_and_nothing_else() {
        let forwarded = machine().guest_forward(443, SocketAddr::from(([127, 0, 0, 1], 8099)));
        assert!(
            line(&forwarded).contains(
                &"user,id=cable,restrict=on,guestfwd=tcp:10.0.2.100:443-cmd:socat - TCP4:127.0.0.1:8099"
                    .to_owned()
            )
        );
        assert!(line(&machine()).contains(&"user,id=cable,restrict=on".to_owned()));
    }

    #[test]
    fn a_credential_is_an_oem_string() {
        let line = line(&machine().credential("unbox.server", "https://a/?x=1,2"));
        assert!(
            line.contains(&"type=11,value=io.systemd.credential:unbox.server=https://a/?x=1,,2".to_owned())
        );
    }

    #[test]
    fn a_board_of_arm_has_no_smbios_and_is_handed_its_credentials_in_another_way() {
        let line = line(&machine_of(Architecture::Arm64).credential("unbox.server", "https://a/?x=1,2"));
        assert!(
            line.contains(
                &"name=opt/io.systemd.credentials/unbox.server,string=https://a/?x=1,,2".to_owned()
            )
        );
        assert!(line.contains(&"-dtb".to_owned()) && !line.contains(&"-smbios".to_owned()), "{line:?}");
    }

    #[test]
    fn a_comma_in_a_path_is_doubled() {
        assert!(line(&machine()).contains(&"file,id=console,path=/run/a,,b".to_owned()));
    }

    #[test]
    fn the_clock_is_the_hosts_unless_it_is_set() {
        assert!(!line(&machine()).contains(&"-rtc".to_owned()));
        assert!(line(&machine().rtc("2001-01-01T00:00:00")).contains(&"base=2001-01-01T00:00:00".to_owned()));
    }
}
