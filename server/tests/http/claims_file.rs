//! `devices:import` and `devices:export`: claims files over HTTP.

use crate::{api::Api, support::TestServer};
use reqwest::Method;
use serde_json::{Value, json};
use std::fmt::Write as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use unbox_server::{
    domain::tenancy::company::CompanyKind,
    service::NewCompany,
    store::{ClaimFilter, PageRequest},
};

const HEADER: &str = "modemtype,modemid,serial,model,manufacturer,profiletype,owner\n";

impl Api {
    async fn send_file(
        &self,
        who: &str,
        path: &str,
        kind: &str,
        file: impl Into<reqwest::Body>,
    ) -> (u16, String) {
        let request = self.server.stranger().post(self.server.at(path)).bearer_auth(&self.keys[who]);
        let answer = request.header("content-type", kind).body(file).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    async fn import(&self, who: &str, path: &str, file: &str) -> Vec<String> {
        let (status, answer) = self.send_file(who, path, "text/csv; charset=utf-8", file.to_owned()).await;
        assert_eq!(status, 200, "{answer}");
        answer.lines().map(str::to_owned).collect()
    }

    async fn file(&self, who: &str, path: &str) -> String {
        let answer = self.server.stranger().get(self.server.at(path)).bearer_auth(&self.keys[who]);
        let answer = answer.send().await.unwrap();
        assert_eq!(answer.status(), 200);
        answer.text().await.unwrap()
    }
}

async fn claims(server: &TestServer) -> Vec<String> {
    let page = PageRequest { size: Some(1000), after: None };
    let all =
        server.services().claims.list_claims(&server.operator, ClaimFilter::default(), page).await.unwrap();
    all.items.into_iter().map(|claim| format!("{claim:?}")).collect()
}

#[tokio::test]
async fn what_was_exported_is_imported_again() {
    let api = Api::start().await;
    let (customer, import) = (api.customer, api.partner_path("devices:import"));
    let file = format!(
        "{HEADER}IMEI,123456789012347,,,,ZERO_TOUCH,{customer}\n,,SN1,Gateway 3,Acme,ZERO_TOUCH,{customer}\n\
         GSM,1,,,,ZERO_TOUCH,{customer}\nIMEI,123456789012345,,,,ZERO_TOUCH,{customer}\n"
    );
    let told = api.import("partner", &import, &file).await;
    assert_eq!(told[0], "line,status,deviceId,column,field,message");
    assert!(told[1].starts_with("2,imported,") && told[2].starts_with("3,imported,"), "{told:?}");
    assert_eq!(told[3], "4,invalid,,1,modemtype,\"The modemtype is not one of: IMEI, MEID.\"");
    assert!(told[4].starts_with("5,invalid,,2,modemid,"), "{told:?}");
    assert_eq!(told[5..], [",done,,,,\"4 rows: 2 imported, 2 that cannot be used.\""]);

    let before = claims(&api.server).await;
    let export = api.file("partner viewer", &api.partner_path("devices:export")).await;
    assert_eq!(export.lines().count(), 3, "{export}");
    let told = api.import("partner", &import, &export).await;
    assert_eq!(told.last().unwrap(), ",done,,,,2 rows: 2 claimed before.");
    let export = api.file("emm", &api.customer_path("devices:export")).await;
    let told = api.import("customer", &api.customer_path("devices:import"), &export).await;
    assert_eq!(told.last().unwrap(), ",done,,,,2 rows: 2 applied before.");
    assert_eq!(claims(&api.server).await, before);

    let kiosk = export.replace(",ZERO_TOUCH,0,", &format!(",ZERO_TOUCH,{},", api.server.configuration()));
    let told = api.import("emm", &api.customer_path("devices:import?alt=json"), &kiosk).await;
    let told: Vec<Value> = told.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&told[0]["line"], &told[0]["status"]), (&json!(2), &json!("applied")));
    assert!(told[0]["deviceId"].is_string());
    assert_eq!((&told[2]["status"], &told[2]["summary"]["applied"]), (&json!("done"), &json!(2)));
    let export = api.file("customer viewer", &api.customer_path("devices:export?alt=json")).await;
    let first: Value = serde_json::from_str(export.lines().next().unwrap()).unwrap();
    assert_eq!(first["profileid"], api.server.configuration().to_string());
}

#[tokio::test]
async fn a_file_that_cannot_be_used_is_refused_and_changes_nothing() {
    let api = Api::start().await;
    let stranger = NewCompany::new(CompanyKind::Customer, "Stranger");
    let stranger =
        api.server.services().tenancy.create_company(&api.server.operator, stranger).await.unwrap().id;
    let (partner, customer) = (api.partner_path("devices:import"), api.customer_path("devices:import"));
    let row = format!("{HEADER},,SN1,Gateway 3,Acme,ZERO_TOUCH,{stranger}\n");
    for (who, path, kind, file, expected, says) in [
        ("partner", partner.as_str(), "application/json", "{}", 415, "text/csv"),
        ("partner", &partner, "text/csv", "", 400, "expected a first line"),
        ("partner", &partner, "text/csv", "owner,secret\n", 400, "is not known"),
        ("partner", &partner, "text/csv", "serial,owner\n\"S1,", 200, ",stopped,"),
        (
            "partner",
            &partner,
            "text/csv",
            &row,
            200,
            "The owner is no customer that this reseller works for.",
        ),
        ("customer", &customer, "text/csv", &row, 400, "expected a customer's file"),
    ] {
        let (status, answer) = api.send_file(who, path, kind, file.to_owned()).await;
        assert_eq!(status, expected, "{answer}");
        assert!(answer.contains(says), "{answer}");
    }
    for path in ["devices:export?fields=owner", "devices:export?limit=1", "devices:export?alt=media"] {
        let (status, answer) = api.call("partner", Method::GET, &api.partner_path(path), Value::Null).await;
        assert_eq!((status, &answer["error"]["status"]), (400, &json!("INVALID_ARGUMENT")), "{path}");
    }
    assert!(claims(&api.server).await.is_empty());
}

/// The body of an answer that came in chunks.
fn whole(answer: &str) -> String {
    let (_, mut chunks) = answer.split_once("\r\n\r\n").unwrap();
    let mut body = String::new();
    while let Some((length, rest)) = chunks.split_once("\r\n") {
        let (chunk, rest) = rest.split_at(usize::from_str_radix(length, 16).unwrap());
        body.push_str(chunk);
        chunks = rest.strip_prefix("\r\n").unwrap();
    }
    body
}

#[tokio::test]
async fn a_client_may_send_everything_before_it_reads_anything() {
    const ROWS: usize = 120_000;
    let api = Api::start().await;
    let mut file = HEADER.to_owned();
    file.push_str(&",,SN,G,A,SIM_LOCK,1\n".repeat(ROWS));
    let head = format!(
        "POST {} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: text/csv\r\n\
         Authorization: Bearer {}\r\nContent-Length: {}\r\n\r\n",
        api.partner_path("devices:import?alt=json"),
        api.keys["partner"],
        file.len()
    );
    let mut stream = api.server.connect().await;
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(file.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let answer = whole(&String::from_utf8(answer).unwrap());
    assert!(answer.len() > 16 * 1024 * 1024, "more than sockets hold: {}", answer.len());
    assert_eq!(answer.matches("\"status\":\"invalid\"").count(), ROWS);
    assert!(answer.contains("\"status\":\"done\"") && answer.contains(&format!("\"rows\":{ROWS}")));
}

#[tokio::test]
async fn an_upload_that_breaks_off_leaves_whole_rows_and_can_be_sent_again() {
    let api = Api::start().await;
    let (customer, path) = (api.customer, api.partner_path("devices:import"));
    let mut file = HEADER.to_owned();
    for number in 0..5000 {
        writeln!(file, ",,SN{number:05},Gateway 3,Acme,ZERO_TOUCH,{customer}").unwrap();
    }
    let sent = &file.as_bytes()[..file.len() / 2];
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/csv\r\nAuthorization: Bearer {}\r\n\
         Content-Length: {}\r\n\r\n",
        api.keys["partner"],
        file.len()
    );
    let mut stream = api.server.connect().await;
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(sent).await.unwrap();
    stream.flush().await.unwrap();
    drop(stream);
    let told = api.import("partner", &path, &file).await;
    assert_eq!(told.len(), 5002);
    let (mut fresh, mut before) = (0, 0);
    for line in &told[1..=5000] {
        match line.split(',').nth(1).unwrap() {
            "imported" => fresh += 1,
            "already_claimed" => before += 1,
            _ => panic!("{line}"),
        }
    }
    assert_eq!(fresh + before, 5000);
    let export = api.file("partner", &api.partner_path("devices:export")).await;
    assert_eq!(export.lines().count(), 5001, "each device once");
}
