//! Who gets in by an API key, an access token or an assertion, and that nobody else does.

use crate::support::{PUBLIC_KEY, START, TestDatabase, TestKey, World};
use serde_json::{Value, json};
use std::time::Duration;
use unbox_common::{ids::CompanyId, secret::Secret};
use unbox_server::{
    domain::tenancy::{
        access::{AccessScope, AccessScopes},
        account::{Account, Role},
        actor::Scope,
        audit::{Action, Subject},
        company::CompanyKind,
        credential::{KeyId, ServiceAccountKey},
    },
    service::{
        NewAccount, NewApiKey, NewCompany, NewHolder, OAuthError, OAuthRefusal, ServiceError, Services,
        TokenAnswer, TokenRequest,
    },
    store::{AuditFilter, KeysOf, PageRequest},
};

const HOUR: Duration = Duration::from_hours(1);
const MINUTE: Duration = Duration::from_mins(1);
const ZERO_TOUCH: &str = "https://www.googleapis.com/auth/androidworkzerotouchemm";
const PROVISIONING: &str = "https://www.googleapis.com/auth/androidworkprovisioning";

/// Exchanges an assertion.
pub(super) async fn exchange(services: &Services, assertion: &str) -> Result<TokenAnswer, OAuthError> {
    exchange_with(services, assertion, "").await
}

async fn exchange_with(services: &Services, assertion: &str, more: &str) -> Result<TokenAnswer, OAuthError> {
    let grant = "urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer";
    let form = format!("grant_type={grant}&assertion={assertion}{more}");
    let sign_in = services.tenancy.verify_assertion(TokenRequest::parse(form.as_bytes())?).await?;
    services.tenancy.issue_token(sign_in).await
}

#[track_caller]
fn refused(result: Result<TokenAnswer, OAuthError>, expected: OAuthRefusal) -> &'static str {
    match result {
        Err(OAuthError::Refused { refusal, description }) => {
            assert_eq!(refusal, expected, "{description}");
            description
        }
        other => panic!("{other:?}"),
    }
}

/// A service account whose key is the fixture.
struct Robot {
    account: Account,
    key: ServiceAccountKey,
}

impl Robot {
    async fn of(world: &World, company: Option<CompanyId>) -> Self {
        let holder = NewHolder::ServiceAccount { name: "robot".to_owned() };
        let new = NewAccount { company, holder, role: Role::Admin };
        let account = world.services.tenancy.create_account(&world.by, new).await.unwrap();
        let key = world
            .services
            .tenancy
            .add_service_account_key(&world.by, account.id, PUBLIC_KEY, None)
            .await
            .unwrap();
        Self { account, key }
    }

    fn claims(&self) -> Value {
        TestKey::claims(self.account.email.as_str(), START)
    }

    fn assertion(&self, claims: &Value) -> String {
        TestKey::own().assertion(self.key.id.as_str(), claims)
    }

    /// A good assertion with other claims.
    fn with(&self, other: &Value) -> String {
        let mut claims = self.claims();
        for (name, value) in other.as_object().unwrap() {
            claims[name] = value.clone();
        }
        self.assertion(&claims)
    }
}

async fn what_a_program_signs_is_exchanged_for_a_token_of_an_hour(db: TestDatabase) {
    let world = World::new(db).await;
    let robot = Robot::of(&world, Some(world.customer)).await;
    let services = &world.services;
    let assertion = robot.assertion(&robot.claims());
    let answer = exchange(services, &assertion).await.unwrap();
    assert_eq!((answer.token_type, answer.expires_in, answer.scope.as_str()), ("Bearer", 3600, ZERO_TOUCH));
    let principal = services.tenancy.authenticate(&answer.access_token).await.unwrap();
    assert_eq!(principal.account, robot.account.id);
    assert_eq!(principal.tenant, Some((world.customer, CompanyKind::Customer)));
    assert_eq!((principal.role, principal.name.as_str()), (Role::Admin, "robot"));
    assert!(principal.scopes.contains(AccessScope::ZeroTouch));
    assert!(!principal.scopes.contains(AccessScope::Provisioning));

    // Taken again while it is good, for another token.
    let again = exchange(services, &assertion).await.unwrap();
    assert_ne!(again.access_token, answer.access_token);
    world.clock.advance(HOUR);
    let late = services.tenancy.authenticate(&answer.access_token).await;
    assert!(matches!(late, Err(ServiceError::Unauthenticated)));

    let filter = AuditFilter { subjects: vec![Subject::Account(robot.account.id)], ..AuditFilter::default() };
    let entries = services.tenancy.list_audit(&world.by, filter, PageRequest::default()).await.unwrap().items;
    let signed_in = entries.iter().find(|one| one.action == Action::SignedIn).unwrap();
    assert_eq!((signed_in.count, signed_in.customer), (2, Some(world.customer)));
    let stored = format!("{:?} {entries:?}", world.db.snapshot().await);
    assert!(!stored.contains(&answer.access_token.expose()[4..]));
}

async fn the_audiences_and_headers_of_real_clients_are_taken(db: TestDatabase) {
    let world = World::new(db).await;
    let robot = Robot::of(&world, Some(world.customer)).await;
    for audience in [
        json!("https://oauth2.googleapis.com/token"),
        json!("https://enroll.example.com/token"),
        json!("https://ENROLL.example.com:8443/token"),
        json!("https://[2001:db8::7]/token"),
        json!(["https://elsewhere.example/token", "https://enroll.example.com/token"]),
    ] {
        exchange(&world.services, &robot.with(&json!({"aud": audience}))).await.unwrap();
    }
    // Google's library for Node names no key, and the one for Python names the subject.
    let nameless = TestKey::own().sign(&json!({"alg": "RS256"}), &robot.claims());
    exchange(&world.services, &nameless).await.unwrap();
    exchange(&world.services, &robot.with(&json!({"sub": robot.account.email}))).await.unwrap();
    let other = json!({"alg": "RS256", "typ": "JWT", "kid": ""});
    exchange(&world.services, &TestKey::own().sign(&other, &robot.claims())).await.unwrap();
}

async fn scopes_are_those_of_the_companys_kind(db: TestDatabase) {
    let world = World::new(db).await;
    let reseller = Robot::of(&world, Some(company(&world, CompanyKind::Reseller).await)).await;
    let emm = Robot::of(&world, Some(company(&world, CompanyKind::Emm).await)).await;
    let operator = Robot::of(&world, None).await;
    let both = format!("{PROVISIONING} {ZERO_TOUCH}");
    for (robot, asked, expected) in [
        (&reseller, "", Some(PROVISIONING)),
        (&reseller, PROVISIONING, Some(PROVISIONING)),
        (&reseller, ZERO_TOUCH, None),
        (&emm, "", Some(ZERO_TOUCH)),
        (&emm, both.as_str(), None),
        (&emm, "https://www.googleapis.com/auth/cloud-platform", None),
        (&operator, "", Some(both.as_str())),
        (&operator, ZERO_TOUCH, Some(ZERO_TOUCH)),
    ] {
        let before = world.db.snapshot().await;
        // Google's clients ask in what they sign, others in the form.
        for in_form in [false, true] {
            let claims = if in_form { json!({}) } else { json!({"scope": asked}) };
            let form = if in_form { format!("&scope={asked}").replace(' ', "+") } else { String::new() };
            let answered = exchange_with(&world.services, &robot.with(&claims), &form).await;
            if let Some(scope) = expected {
                let answer = answered.unwrap();
                assert_eq!(answer.scope, scope);
                let principal = world.services.tenancy.authenticate(&answer.access_token).await.unwrap();
                assert_eq!(principal.scopes.to_string(), scope);
            } else {
                refused(answered, OAuthRefusal::InvalidScope);
                assert_eq!(world.db.snapshot().await, before);
            }
        }
    }
}

async fn company(world: &World, kind: CompanyKind) -> CompanyId {
    world.services.tenancy.create_company(&world.by, NewCompany::new(kind, "Other")).await.unwrap().id
}

async fn only_those_who_work_for_a_customer_act_for_it(db: TestDatabase) {
    let world = World::new(db).await;
    let services = &world.services;
    let (emm, reseller) =
        (company(&world, CompanyKind::Emm).await, company(&world, CompanyKind::Reseller).await);
    services.tenancy.set_works_for(&world.by, reseller, world.customer, true).await.unwrap();
    let other = world.other_customer("Bolt").await;
    let mut principals = Vec::new();
    for holder in [None, Some(world.customer), Some(other), Some(emm), Some(reseller)] {
        let robot = Robot::of(&world, holder).await;
        let token = exchange(services, &robot.assertion(&robot.claims())).await.unwrap().access_token;
        principals.push(services.tenancy.authenticate(&token).await.unwrap());
    }
    let acting = async || {
        let mut acting = Vec::new();
        for principal in &principals {
            let actor = services.tenancy.actor_for_customer(principal, world.customer).await;
            let refused = |error| matches!(error, ServiceError::NotFound { .. });
            acting.push(actor.map(|actor| actor.scope()).map_err(refused));
        }
        acting
    };
    let (yes, no) = (Ok(Scope::Customer(world.customer)), Err(true));
    assert_eq!(acting().await, [yes, yes, no, no, no]);
    services.tenancy.set_works_for(&world.by, emm, world.customer, true).await.unwrap();
    assert_eq!(acting().await, [yes, yes, no, yes, no]);
    assert!(services.tenancy.actor_for_customer(&principals[0], emm).await.is_err(), "that is no customer");
}

async fn what_is_not_signed_as_it_must_be_gets_nothing(db: TestDatabase) {
    let world = World::new(db).await;
    let robot = Robot::of(&world, Some(world.customer)).await;
    let other = Robot::of(&world, None).await;
    let (claims, kid) = (robot.claims(), robot.key.id.as_str());
    let good = robot.assertion(&claims);
    let before = world.db.snapshot().await;
    let sign = |header: Value| TestKey::own().sign(&header, &claims);
    let mut tampered = robot.with(&json!({"iss": other.account.email}));
    tampered.replace_range(tampered.rfind('.').unwrap().., &good[good.rfind('.').unwrap()..]);
    let unknown = [
        ("a stranger's key", TestKey::strangers().assertion(kid, &claims)),
        ("an unknown key", TestKey::own().assertion(KeyId::new([9; 20]).as_str(), &claims)),
        ("another account's key", TestKey::own().assertion(other.key.id.as_str(), &claims)),
        ("no key at all", TestKey::own().assertion("x' OR 1=1", &claims)),
        ("an unknown account", robot.with(&json!({"iss": "robot@1.unbox.invalid"}))),
        ("no account's name", robot.with(&json!({"iss": "robot\0@1.unbox.invalid"}))),
        ("a person", robot.with(&json!({"iss": "it@acme.example"}))),
        ("claims of another account", tampered),
        ("another algorithm's signature", {
            let rs512 = sign(json!({"alg": "RS512", "kid": kid}));
            format!("{}{}", &good[..good.rfind('.').unwrap()], &rs512[rs512.rfind('.').unwrap()..])
        }),
        ("no signature", good[..=good.rfind('.').unwrap()].to_owned()),
    ];
    let mut answers: Vec<&str> = Vec::new();
    for (what, assertion) in unknown {
        let said = refused(exchange(&world.services, &assertion).await, OAuthRefusal::InvalidGrant);
        assert!(said.contains("not known here"), "{what}: {said}");
        answers.push(said);
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "one answer for all");
    for (what, assertion) in [
        ("alg none", sign(json!({"alg": "none", "kid": kid}))),
        ("alg HS256 with the public key", sign(json!({"alg": "HS256", "kid": kid}))),
        ("alg RS512", sign(json!({"alg": "RS512", "kid": kid}))),
        ("alg in another spelling", sign(json!({"alg": "rs256", "kid": kid}))),
        ("no alg", sign(json!({"kid": kid}))),
        ("a critical extension", sign(json!({"alg": "RS256", "kid": kid, "crit": ["b64"], "b64": false}))),
        ("nothing", ".".to_owned()),
        ("two parts", "a.b".to_owned()),
        ("four parts", format!("{good}.x")),
        ("no base64", "!.!.!".to_owned()),
        ("no iss", robot.with(&json!({"iss": null}))),
        ("no aud", robot.with(&json!({"aud": null}))),
        ("exp as a text", robot.with(&json!({"exp": "9999999999"}))),
        ("negative iat", robot.with(&json!({"iat": -1}))),
        ("too large", format!("{good}{}", "x".repeat(20_000))),
    ] {
        let said = refused(exchange(&world.services, &assertion).await, OAuthRefusal::InvalidGrant);
        assert!(!said.is_empty(), "{what}");
    }
    assert_eq!(world.db.snapshot().await, before);
}

async fn an_assertion_is_good_for_an_hour_and_for_this_server(db: TestDatabase) {
    let world = World::new(db).await;
    let robot = Robot::of(&world, Some(world.customer)).await;
    let now = START.as_secs();
    let before = world.db.snapshot().await;
    for (claims, says) in [
        (json!({"exp": now + 3601}), "within an hour"),
        (json!({"exp": now}), "within an hour"),
        (json!({"exp": now - 1}), "within an hour"),
        (json!({"exp": u64::MAX}), "within an hour"),
        (json!({"iat": now + 301, "exp": now + 400}), "not good now"),
        (json!({"iat": now - 3600, "exp": now - 300}), "not good now"),
        (json!({"sub": "it@acme.example"}), "somebody else"),
        (json!({"aud": "https://elsewhere.example/token"}), "another server"),
        (json!({"aud": "https://enroll.example.com/other"}), "another server"),
        (json!({"aud": "https://enroll.example.com.evil.example/token"}), "another server"),
        (json!({"aud": "token"}), "another server"),
        (json!({"aud": []}), "another server"),
    ] {
        let answered = exchange(&world.services, &robot.with(&claims)).await;
        let said = refused(answered, OAuthRefusal::InvalidGrant);
        assert!(said.contains(says), "{claims}: {said}");
    }
    assert_eq!(world.db.snapshot().await, before);
    for claims in [
        json!({"iat": now + 299, "exp": now + 400}),
        json!({"iat": now - 3600, "exp": now - 299}),
        json!({"iat": now - 10, "exp": now + 3590}),
    ] {
        exchange(&world.services, &robot.with(&claims)).await.unwrap();
    }
}

async fn a_revoked_key_and_a_disabled_account_get_nothing_and_lose_their_tokens(db: TestDatabase) {
    let world = World::new(db).await;
    let (services, by) = (&world.services, &world.by);
    let robot = Robot::of(&world, Some(world.customer)).await;
    let assertion = robot.assertion(&robot.claims());
    let token = exchange(services, &assertion).await.unwrap().access_token;
    services.tenancy.disable_account(by, robot.account.id).await.unwrap();
    let before = world.db.snapshot().await;
    refused(exchange(services, &assertion).await, OAuthRefusal::InvalidGrant);
    assert!(services.tenancy.authenticate(&token).await.is_err());
    assert_eq!(world.db.snapshot().await, before);
    services.tenancy.enable_account(by, robot.account.id).await.unwrap();
    assert!(services.tenancy.authenticate(&token).await.is_ok());
    services.tenancy.revoke_service_account_key(by, &robot.key.id).await.unwrap();
    services.tenancy.revoke_service_account_key(by, &robot.key.id).await.unwrap();
    let before = world.db.snapshot().await;
    refused(exchange(services, &assertion).await, OAuthRefusal::InvalidGrant);
    assert!(services.tenancy.authenticate(&token).await.is_err());
    assert_eq!(world.db.snapshot().await, before);
}

async fn a_token_ends_no_later_than_its_key(db: TestDatabase) {
    let world = World::new(db).await;
    let (services, by) = (&world.services, &world.by);
    let robot = Robot::of(&world, Some(world.customer)).await;
    services.tenancy.revoke_service_account_key(by, &robot.key.id).await.unwrap();
    let end = START.plus(MINUTE);
    let key =
        services.tenancy.add_service_account_key(by, robot.account.id, PUBLIC_KEY, Some(end)).await.unwrap();
    let answer =
        exchange(services, &TestKey::own().assertion(key.id.as_str(), &robot.claims())).await.unwrap();
    assert_eq!(answer.expires_in, 60);
    world.clock.advance(MINUTE);
    assert!(services.tenancy.authenticate(&answer.access_token).await.is_err());
    let late = exchange(services, &TestKey::own().assertion(key.id.as_str(), &robot.claims())).await;
    refused(late, OAuthRefusal::InvalidGrant);
}

async fn whatever_is_wrong_with_a_secret_the_answer_is_the_same(db: TestDatabase) {
    let world = World::new(db).await;
    let (services, by) = (&world.services, &world.by);
    let robot = Robot::of(&world, Some(world.customer)).await;
    let new = |hours| NewApiKey {
        account: robot.account.id,
        name: "export".to_owned(),
        expires_at: Some(START.plus(HOUR * hours)),
    };
    let (_, expired) = services.tenancy.create_api_key(by, new(1)).await.unwrap();
    let (key, revoked) = services.tenancy.create_api_key(by, new(5)).await.unwrap();
    let (_, good) = services.tenancy.create_api_key(by, new(5)).await.unwrap();
    services.tenancy.revoke_api_key(by, key.id).await.unwrap();
    world.clock.advance(HOUR);
    let token = exchange(
        services,
        &robot.with(&json!({"iat": START.as_secs() + 3600, "exp": START.as_secs() + 7200})),
    )
    .await
    .unwrap()
    .access_token;
    let swapped = good.expose().replace("uak_", "uat_");
    let secret = |text: &str| Secret::new(text.to_owned());
    let before = world.db.snapshot().await;
    for (what, shown) in [
        ("expired", expired),
        ("revoked", revoked),
        ("unknown", secret(&format!("uak_{}", "0".repeat(64)))),
        ("an API key taken for a token", secret(&swapped)),
        ("a token taken for an API key", secret(&token.expose().replace("uat_", "uak_"))),
        ("a device's token", secret("ppt_0123456789012345678901234567890123456789")),
        ("nothing", secret("")),
        ("huge", secret(&format!("uak_{}", "0".repeat(1_000_000)))),
        ("another case", secret(&good.expose().to_uppercase())),
        ("a space behind", secret(&format!("{} ", good.expose()))),
    ] {
        let refused = services.tenancy.authenticate(&shown).await.unwrap_err();
        assert!(matches!(refused, ServiceError::Unauthenticated), "{what}: {refused:?}");
    }
    assert_eq!(world.db.snapshot().await, before);
    assert!(services.tenancy.authenticate(&good).await.is_ok());
    services.tenancy.disable_account(by, robot.account.id).await.unwrap();
    assert!(matches!(services.tenancy.authenticate(&good).await, Err(ServiceError::Unauthenticated)));
}

async fn the_use_of_an_api_key_is_written_down_and_not_each_time(db: TestDatabase) {
    let world = World::new(db).await;
    let (services, by) = (&world.services, &world.by);
    let robot = Robot::of(&world, Some(world.customer)).await;
    let new = NewApiKey { account: robot.account.id, name: "export".to_owned(), expires_at: None };
    let (_, secret) = services.tenancy.create_api_key(by, new).await.unwrap();
    let last_used = async || {
        // Whatever was to be written soon is written before this.
        services.tenancy.rename_company(by, world.customer, "Acme").await.unwrap();
        let keys = services
            .tenancy
            .list_api_keys(by, KeysOf::Account(robot.account.id), PageRequest::default())
            .await
            .unwrap();
        keys.items[0].last_used_at
    };
    assert_eq!(last_used().await, None);
    for (wait, expected) in
        [(Duration::ZERO, START), (MINUTE * 59, START), (MINUTE * 2, START.plus(MINUTE * 61))]
    {
        world.clock.advance(wait);
        let principal = services.tenancy.authenticate(&secret).await.unwrap();
        assert_eq!(principal.scopes, AccessScopes::of(Some(CompanyKind::Customer)));
        for _ in 0..100 {
            if last_used().await == Some(expected) {
                break;
            }
            tokio::task::yield_now().await;
        }
        assert_eq!(last_used().await, Some(expected));
    }
}

battery!(
    what_a_program_signs_is_exchanged_for_a_token_of_an_hour,
    the_audiences_and_headers_of_real_clients_are_taken,
    scopes_are_those_of_the_companys_kind,
    only_those_who_work_for_a_customer_act_for_it,
    what_is_not_signed_as_it_must_be_gets_nothing,
    an_assertion_is_good_for_an_hour_and_for_this_server,
    a_revoked_key_and_a_disabled_account_get_nothing_and_lose_their_tokens,
    a_token_ends_no_later_than_its_key,
    whatever_is_wrong_with_a_secret_the_answer_is_the_same,
    the_use_of_an_api_key_is_written_down_and_not_each_time,
);
