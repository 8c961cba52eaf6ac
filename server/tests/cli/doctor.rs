//! What is told before a disk is full or a certificate ends.

use super::Admin;
use serde_json::{Value, json};
use std::{fs, thread::sleep, time::Duration};
use unbox_server::{
    clock::{Clock as _, SystemClock},
    entropy::SystemEntropy,
    files,
    keys::{self, Layout, SERVER_LIFETIME, rotate},
};

const DAY: Duration = Duration::from_hours(24);
const GIB: u64 = 1024 * 1024 * 1024;

/// Lists the findings of one check of `doctor`: how bad each is, about what, and what to do.
fn list_findings(admin: &Admin, check: &str) -> Vec<[String; 3]> {
    let output = admin.run(&["doctor", "--json"]);
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    let findings = told["findings"].as_array().unwrap().iter().filter(|finding| finding["check"] == check);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    findings.map(|finding| ["severity", "about", "advice"].map(|field| text(&finding[field]))).collect()
}

#[test]
fn a_disk_that_will_soon_be_full_is_told_with_the_day() {
    let admin = Admin::founded();
    let layout = Layout::new(admin.path(""));
    let now = SystemClock.now();
    let measured = |free_gib: [u64; 2]| {
        let [first, last] = free_gib.map(|free| free * GIB);
        let looks = json!([
            {"at": now.minus(DAY * 2), "free_bytes": first},
            {"at": now.minus(DAY), "free_bytes": last},
        ]);
        let history = json!({ (layout.dir().to_str().unwrap()): looks }).to_string();
        files::replace(&layout.disk_history(), history.as_bytes(), files::PRIVATE_FILE).unwrap();
        list_findings(&admin, "disk")
    };
    assert_eq!(list_findings(&admin, "disk"), [[""; 3]; 0], "nothing is known of its pace");
    assert_eq!(measured([300, 299]), [[""; 3]; 0], "it lasts for most of a year");
    assert_eq!(measured([299, 300]), [[""; 3]; 0]);
    // 199 GiB are left beside the reserve, at 100 GiB a day.
    let full = now.minus(DAY).plus(DAY * 199 / 100);
    let advice = format!("as it fills, uploads are refused from {full} on: make room before");
    let about = layout.dir().display().to_string();
    assert_eq!(measured([300, 200]), [["warning".to_owned(), about, advice]]);
}

#[test]
fn a_certificate_that_nobody_renews_is_told_by_doctor_and_in_the_log() {
    let admin = Admin::founded();
    assert_eq!(list_findings(&admin, "certificate"), [[""; 3]; 0]);
    let layout = Layout::new(admin.path(""));
    let issued = SystemClock.now().minus(SERVER_LIFETIME).plus(DAY * 20);
    rotate::renew_server(&layout, &["localhost".to_owned()], issued, &SystemEntropy::new()).unwrap();
    // Its authority's key is kept elsewhere.
    fs::remove_file(layout.tls_ca()).unwrap();
    let end = keys::certificate(layout.server_certificate()).unwrap().not_after;
    let told = list_findings(&admin, "certificate");
    let [[severity, _, advice]] = told.as_slice() else { panic!("{told:?}") };
    assert_eq!(severity, "warning");
    assert!(
        advice.starts_with(&format!("it ends at {end}: run `unbox-server key renew-server`")),
        "{advice}"
    );

    let serving = admin.serve();
    let log = || fs::read_to_string(admin.dir.path().join("log")).unwrap();
    let warning = || log().lines().find(|line| line.contains("nobody has renewed it")).map(str::to_owned);
    for _ in 0..600 {
        if warning().is_some() {
            break;
        }
        sleep(Duration::from_millis(50));
    }
    let warning = warning().unwrap_or_else(|| panic!("{}", log()));
    assert!(warning.contains("WARN") && warning.contains(&end.to_string()), "{warning}");
    assert_eq!(serving.stop(), Some(0));
}

#[test]
fn what_serve_refuses_is_found_by_doctor() {
    let admin = Admin::founded();
    fs::remove_dir(admin.path("artifacts")).unwrap();
    let refused = admin.refused(&["serve", "--listen", "127.0.0.1:0"], 1);
    let advice = "artifacts is to hold artifacts, and cannot be looked at: create it";
    assert!(refused.contains(advice), "{refused}");
    let found = list_findings(&admin, "disk");
    assert!(
        found.iter().any(|[severity, _, told]| severity == "error" && told.contains(advice)),
        "{found:?}"
    );
    fs::create_dir(admin.path("artifacts")).unwrap();
    assert_eq!(list_findings(&admin, "disk"), [[""; 3]; 0]);

    admin.set("filter", "\"warn,request=loud\"");
    let refused = admin.refused(&["serve", "--listen", "127.0.0.1:0"], 1);
    assert!(refused.contains("log.filter") && refused.contains("warn,request=info"), "{refused}");
    let found = list_findings(&admin, "settings");
    assert!(
        found.iter().any(|[severity, _, told]| severity == "error" && told.contains("log.filter")),
        "{found:?}"
    );
}
