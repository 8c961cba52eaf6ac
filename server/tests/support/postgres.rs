//! A private PostgreSQL for one test program: its own cluster, reached through a socket in its own
//! directory, never as root, gone when the program ends, in whatever way.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{ChildStdin, Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

/// The owner of the cluster, because `initdb` refuses root.
pub const USER: &str = "postgres";
const BINARIES: &str = "/usr/lib/postgresql";

/// Starts the server, obeys commands line by line until the other end of its standard input is closed (by
/// the end of the test program), stops the server, and removes everything. `$1` is the directory, `$2` the
/// directory of the programs, `$3` whether a commit waits for the disk; the rest is the prefix that runs a
/// program as the cluster's user.
const KEEPER: &str = r#"
directory=$1; binaries=$2; commit=$3; shift 3
start() {
    "$@" "$binaries/postgres" -D "$directory/data" -k "$directory" -c fsync=off \
        -c full_page_writes=off -c synchronous_commit="$commit" -c max_connections=400 -c shared_buffers=32MB \
        >>"$directory/log" 2>&1 </dev/null &
    server=$!
}
end() { kill "-$1" "$server"; wait "$server"; }
start "$@"
while read -r order; do
    case $order in
        start) start "$@" ;;
        standby) "$@" touch "$directory/data/standby.signal"; start "$@" ;;
        promote) "$@" "$binaries/pg_ctl" promote -D "$directory/data" >/dev/null ;;
        *) end "$order" ;;
    esac
    : >"$directory/done"
done
end INT; rm -rf "$directory"
"#;

/// The cluster of this test program.
pub struct Cluster {
    directory: PathBuf,
    /// The port, which also names the socket.
    port: u16,
    databases: AtomicU32,
    binaries: PathBuf,
    /// Closed by the kernel when this program ends.
    lifeline: ChildStdin,
}

impl Cluster {
    /// Returns the cluster of this program, started by the first caller.
    pub fn shared() -> &'static Self {
        static CLUSTER: OnceLock<Cluster> = OnceLock::new();
        CLUSTER.get_or_init(|| Self::start_new("off", 5432, |_| String::new()))
    }

    /// Starts a cluster for one test, which may stop it.
    pub fn own() -> Self {
        Self::start_new("on", 5432, |_| String::new())
    }

    /// Makes a cluster, and starts it with the settings that `prepare` returns for its directory.
    pub fn start_new(synchronous_commit: &str, port: u16, prepare: impl FnOnce(&Path) -> String) -> Self {
        static CLUSTERS: AtomicU32 = AtomicU32::new(0);
        let number = CLUSTERS.fetch_add(1, Ordering::SeqCst);
        let binaries = newest_binaries();
        let directory = std::env::temp_dir().join(format!("unbox-postgres-{}-{number}", std::process::id()));
        let data = directory.join("data");
        fs::create_dir_all(&directory).unwrap();
        let as_user = as_user(&directory);
        let made = run(&as_user, &binaries.join("initdb"))
            .args(["-U", "unbox", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync", "-N", "-D"])
            .arg(&data)
            .output()
            .unwrap();
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        let settings = format!("listen_addresses = ''\nport = {port}\n{}", prepare(&data));
        let mut file = fs::File::options().append(true).open(data.join("postgresql.conf")).unwrap();
        file.write_all(settings.as_bytes()).unwrap();
        #[expect(clippy::zombie_processes, reason = "it outlives this program, to tidy up after it")]
        let mut keeper = command("/bin/sh")
            .args(["-c", KEEPER, "keeper"])
            .arg(&directory)
            .arg(&binaries)
            .arg(synchronous_commit)
            .args(&as_user)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lifeline = keeper.stdin.take().unwrap();
        let cluster = Self { directory, port, databases: AtomicU32::new(0), binaries, lifeline };
        cluster.wait_until_up();
        cluster
    }

    /// Ends the cluster as a crash would.
    pub fn kill(&mut self) {
        self.order("QUIT");
    }

    /// Ends the cluster as an administrator would.
    pub fn stop(&mut self) {
        self.order("INT");
    }

    /// Starts the cluster again.
    pub fn start(&mut self) {
        self.order("start");
        self.wait_until_up();
    }

    /// Starts the cluster as a standby, which can only be read.
    pub fn start_as_standby(&mut self) {
        self.order("standby");
        self.wait_until_up();
    }

    /// Makes the standby a primary.
    pub fn promote(&mut self) {
        self.order("promote");
    }

    fn order(&mut self, order: &str) {
        let done = self.directory.join("done");
        let _ = fs::remove_file(&done);
        writeln!(self.lifeline, "{order}").unwrap();
        for _ in 0..1500 {
            if done.exists() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("PostgreSQL did not {order}");
    }

    /// Makes a new, empty database, and returns its URL.
    pub async fn database(&self) -> String {
        let number = self.databases.fetch_add(1, Ordering::SeqCst);
        self.run(&format!("CREATE DATABASE test{number}")).await;
        self.url(&format!("test{number}"))
    }

    /// Runs a statement as the cluster's administrator.
    pub async fn run(&self, statement: &str) {
        let (url, statement) = (self.url("postgres"), statement.to_owned());
        let run = move || {
            let mut client = postgres::Client::connect(&url, postgres::NoTls).unwrap();
            client.batch_execute(&statement).unwrap();
        };
        tokio::task::spawn_blocking(run).await.unwrap();
    }

    fn url(&self, database: &str) -> String {
        let socket = self.directory.to_string_lossy().replace('/', "%2F");
        format!("postgres://unbox@{socket}:{}/{database}", self.port)
    }

    fn wait_until_up(&self) {
        for _ in 0..1500 {
            let ready = command(self.binaries.join("pg_isready"))
                .args(["-q", "-U", "unbox", "-d", "postgres", "-p", &self.port.to_string(), "-h"])
                .arg(&self.directory)
                .status()
                .unwrap();
            if ready.success() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let log = fs::read_to_string(self.directory.join("log")).unwrap_or_default();
        panic!("PostgreSQL did not start: {log}");
    }
}

fn newest_binaries() -> PathBuf {
    let mut versions: Vec<PathBuf> = fs::read_dir(BINARIES)
        .map(|entries| entries.flatten().map(|entry| entry.path().join("bin")).collect())
        .unwrap_or_default();
    versions.retain(|path| path.join("initdb").exists());
    versions.sort();
    versions.pop().unwrap_or_else(|| panic!("no PostgreSQL below {BINARIES}: apt-get install postgresql"))
}

/// Returns the prefix that runs a program as the owner of the cluster; gives `directory` to that user, too.
fn as_user(directory: &Path) -> Vec<String> {
    let id = command("id").arg("-u").output().unwrap();
    if id.stdout != b"0\n" {
        return Vec::new();
    }
    let given = command("chown").arg(USER).arg(directory).status().unwrap();
    assert!(given.success(), "no user {USER}: apt-get install postgresql");
    ["setpriv", "--reuid", USER, "--regid", USER, "--clear-groups", "--"].map(str::to_owned).to_vec()
}

fn run(as_user: &[String], program: &Path) -> Command {
    match as_user {
        [] => command(program),
        [first, rest @ ..] => {
            let mut run = command(first);
            run.args(rest).arg(program);
            run
        }
    }
}

fn command(program: impl AsRef<std::ffi::OsStr>) -> Command {
    #[expect(clippy::disallowed_methods, reason = "the one place of these tests that runs programs")]
    let mut command = Command::new(program);
    // A directory that the cluster's user may enter, even if the test program's is not.
    command.current_dir("/").env("LC_ALL", "C");
    command
}
