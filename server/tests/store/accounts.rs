//! Accounts, and what they sign in with.

use super::companies::add_company;
use crate::support::TestDatabase;
use unbox_common::{
    bytes::Bytes,
    digest::Sha256,
    ids::{AccountId, ApiKeyId, CompanyId},
    timestamp::Timestamp,
};
use unbox_server::{
    domain::tenancy::{
        access::AccessScopes,
        account::{Account, AccountKind, Email, Role},
        actor::Scope,
        company::CompanyKind,
        credential::{AccessToken, ApiKey, KeyId, NOTE_USE_EVERY, ServiceAccountKey},
    },
    store::{AccountsOf, KeysOf, PageRequest, StoreError, Tx},
};

const NOW: Timestamp = Timestamp(10_000_000);

fn account(id: i64, company: Option<i64>, name: &str) -> Account {
    let company = company.map(|id| CompanyId::new(id).unwrap());
    Account {
        id: AccountId::new(id).unwrap(),
        company,
        kind: AccountKind::ServiceAccount,
        name: name.parse().unwrap(),
        email: Email::of_service_account(name, company).unwrap(),
        role: Role::Owner,
        created_at: NOW,
        disabled_at: None,
    }
}

fn user(id: i64, company: i64, email: &str) -> Account {
    Account { kind: AccountKind::User, email: email.parse().unwrap(), ..account(id, Some(company), "it") }
}

fn api_key(id: i64, account: i64) -> ApiKey {
    ApiKey {
        id: ApiKeyId::new(id).unwrap(),
        account: AccountId::new(account).unwrap(),
        account_kind: AccountKind::ServiceAccount,
        // The accounts of these tests are numbered by their companies.
        company: CompanyId::new(account / 10).ok().filter(|_| account < 30),
        name: "export".parse().unwrap(),
        prefix: "uak_01234567".to_owned(),
        created_at: NOW,
        expires_at: Some(NOW.plus(NOTE_USE_EVERY * 10)),
        revoked_at: None,
        last_used_at: None,
    }
}

fn key(byte: u8, account: i64) -> ServiceAccountKey {
    ServiceAccountKey {
        id: KeyId::new([byte; 20]),
        account: AccountId::new(account).unwrap(),
        public_key: Bytes(vec![byte; 3]),
        created_at: NOW,
        expires_at: None,
        revoked_at: None,
    }
}

async fn add(db: &TestDatabase, new: Account) -> bool {
    db.store.write(move |tx: &mut Tx| tx.insert_account(&new)).await.unwrap()
}

async fn change(db: &TestDatabase, to: Account) {
    db.store
        .write(move |tx: &mut Tx| {
            tx.lock_account(to.id)?;
            tx.update_account(&to)
        })
        .await
        .unwrap();
}

async fn add_api_key(db: &TestDatabase, new: ApiKey, digest: Sha256) {
    db.store.write(move |tx: &mut Tx| tx.insert_api_key(&new, digest)).await.unwrap();
}

async fn add_key(db: &TestDatabase, new: ServiceAccountKey) {
    db.store.write(move |tx: &mut Tx| tx.insert_service_account_key(&new)).await.unwrap();
}

async fn add_token(db: &TestDatabase, new: AccessToken) {
    db.store.write(move |tx: &mut Tx| tx.insert_access_token(&new)).await.unwrap();
}

/// Acme with two accounts, Bolt with one, the operator with one.
async fn accounts(db: &TestDatabase) {
    add_company(db, 1, CompanyKind::Customer, "Acme").await;
    add_company(db, 2, CompanyKind::Reseller, "Bolt").await;
    for new in [
        account(10, Some(1), "robot"),
        user(11, 1, "it@acme.example"),
        account(20, Some(2), "robot"),
        account(30, None, "robot"),
    ] {
        assert!(add(db, new).await);
    }
}

async fn an_address_is_unique_within_a_company(db: TestDatabase) {
    accounts(&db).await;
    assert!(!add(&db, user(12, 1, "it@acme.example")).await);
    assert!(!add(&db, account(31, None, "robot")).await, "the operator is one company, too");
    assert!(add(&db, user(21, 2, "it@acme.example")).await);
    let found =
        db.read(move |reader| reader.accounts_with_email(Scope::Operator, "it@acme.example", 5)).await;
    assert_eq!(found, [user(11, 1, "it@acme.example"), user(21, 2, "it@acme.example")]);
    let limited =
        db.read(move |reader| reader.accounts_with_email(Scope::Operator, "it@acme.example", 1)).await;
    assert_eq!(limited.len(), 1);
}

async fn a_company_sees_only_its_own_accounts_and_keys(db: TestDatabase) {
    accounts(&db).await;
    add_api_key(&db, api_key(100, 10), Sha256::of(b"a")).await;
    add_key(&db, key(7, 10)).await;
    let (acme, bolt) =
        (Scope::Customer(CompanyId::new(1).unwrap()), Scope::Customer(CompanyId::new(2).unwrap()));
    let (id, page) = (AccountId::new(10).unwrap(), PageRequest::default);
    for (scope, seen) in [(acme, true), (bolt, false), (Scope::Operator, true)] {
        assert_eq!(db.read(move |reader| reader.account(scope, id)).await.is_some(), seen, "{scope:?}");
        let email = "robot@1.unbox.invalid";
        assert_eq!(
            db.read(move |reader| reader.accounts_with_email(scope, email, 5)).await.len(),
            usize::from(seen)
        );
        let api_key_id = ApiKeyId::new(100).unwrap();
        assert_eq!(
            db.read(move |reader| reader.api_key(scope, api_key_id)).await,
            seen.then(|| api_key(100, 10))
        );
        let keys = db.read(move |reader| reader.api_keys(scope, KeysOf::Account(id), &page())).await.items;
        assert_eq!(keys.len(), usize::from(seen));
        let key_id = KeyId::new([7; 20]);
        assert_eq!(
            db.read(move |reader| reader.service_account_key(scope, &key_id)).await,
            seen.then(|| key(7, 10))
        );
        let keys = db.read(move |reader| reader.service_account_keys(scope, id, &page())).await.items;
        assert_eq!(keys.len(), usize::from(seen));
    }
    let ids = async |scope, of| -> Vec<i64> {
        let found = db.read(move |reader| reader.accounts(scope, of, None, &page())).await.items;
        found.iter().map(|one| one.id.get()).collect()
    };
    assert_eq!(ids(Scope::Operator, AccountsOf::Anybody).await, [10, 11, 20, 30]);
    assert_eq!(ids(Scope::Operator, AccountsOf::Operator).await, [30]);
    assert_eq!(ids(Scope::Operator, AccountsOf::Company(CompanyId::new(2).unwrap())).await, [20]);
    assert_eq!(ids(bolt, AccountsOf::Anybody).await, [20]);
    assert_eq!(ids(bolt, AccountsOf::Operator).await, [0_i64; 0]);
    assert_eq!(ids(bolt, AccountsOf::Company(CompanyId::new(1).unwrap())).await, [0_i64; 0]);
}

async fn only_owners_that_can_act_are_counted(db: TestDatabase) {
    accounts(&db).await;
    let (robot, it) = (account(10, Some(1), "robot"), user(11, 1, "it@acme.example"));
    let others = async || {
        let robot = robot.clone();
        db.read(move |reader| reader.other_owners(&robot)).await
    };
    assert_eq!(others().await, 1);
    change(&db, Account { disabled_at: Some(NOW), ..it.clone() }).await;
    assert_eq!(others().await, 0);
    change(&db, Account { role: Role::Admin, ..it.clone() }).await;
    assert_eq!(others().await, 0);
    change(&db, it).await;
    assert_eq!(others().await, 1);
}

async fn an_api_key_opens_something_until_it_ends(db: TestDatabase) {
    accounts(&db).await;
    let digest = Sha256::of(b"a");
    add_api_key(&db, api_key(100, 20), digest).await;
    let shown = async |digest, now| db.read(move |reader| reader.api_key_use(digest, now)).await;
    let used = shown(digest, NOW).await.unwrap();
    assert_eq!((used.key.get(), used.last_used_at), (100, None));
    assert_eq!(used.principal.tenant, Some((CompanyId::new(2).unwrap(), CompanyKind::Reseller)));
    assert_eq!((used.principal.account.get(), used.principal.role), (20, Role::Owner));
    assert_eq!(used.principal.scopes, AccessScopes::of(Some(CompanyKind::Reseller)));
    assert_eq!(shown(Sha256::of(b"b"), NOW).await, None);
    let end = api_key(100, 20).expires_at.unwrap();
    assert_eq!(shown(digest, end).await, None);
    assert!(shown(digest, Timestamp(end.0 - 1)).await.is_some());
    change(&db, Account { disabled_at: Some(NOW), ..account(20, Some(2), "robot") }).await;
    assert_eq!(shown(digest, NOW).await, None);
    change(&db, account(20, Some(2), "robot")).await;
    assert!(shown(digest, NOW).await.is_some());
    let revoke = || {
        db.store
            .write(move |tx: &mut Tx| tx.end_api_key(&ApiKey { revoked_at: Some(NOW), ..api_key(100, 20) }))
    };
    revoke().await.unwrap();
    assert_eq!(shown(digest, NOW).await, None);
    assert!(matches!(revoke().await, Err(StoreError::Touched { expected: 1, touched: 0, .. })));
}

async fn the_use_of_an_api_key_is_noted_once_an_hour(db: TestDatabase) {
    accounts(&db).await;
    let id = ApiKeyId::new(100).unwrap();
    add_api_key(&db, api_key(100, 10), Sha256::of(b"a")).await;
    let half = NOTE_USE_EVERY / 2;
    for (at, noted) in [(NOW, NOW), (NOW.plus(half), NOW), (NOW.plus(half * 2), NOW.plus(half * 2))] {
        db.store.write(move |tx: &mut Tx| tx.note_api_key_use(id, at)).await.unwrap();
        let key = db.read(move |reader| reader.api_key(Scope::Operator, id)).await.unwrap();
        assert_eq!(key.last_used_at, Some(noted));
    }
    let gone = ApiKeyId::new(999).unwrap();
    let noted = db.store.write(move |tx: &mut Tx| tx.note_api_key_use(gone, NOW));
    noted.await.unwrap();
}

async fn an_access_token_goes_with_its_key_its_account_and_its_time(db: TestDatabase) {
    accounts(&db).await;
    let digest = Sha256::of(b"t");
    let token = |byte, digest| AccessToken {
        digest,
        key: KeyId::new([byte; 20]),
        scopes: AccessScopes::of(Some(CompanyKind::Customer)),
        created_at: NOW,
        expires_at: Timestamp(NOW.0 + 1000),
    };
    add_key(&db, key(7, 10)).await;
    add_token(&db, token(7, digest)).await;
    let shown = async |digest, now| db.read(move |reader| reader.access_token_use(digest, now)).await;
    let principal = shown(digest, NOW).await.unwrap();
    assert_eq!((principal.account.get(), principal.company().map(CompanyId::get)), (10, Some(1)));
    assert_eq!(principal.scopes, token(7, digest).scopes);
    assert_eq!(shown(digest, Timestamp(NOW.0 + 1000)).await, None);
    assert_eq!(shown(Sha256::of(b"x"), NOW).await, None);
    change(&db, Account { disabled_at: Some(NOW), ..account(10, Some(1), "robot") }).await;
    assert_eq!(shown(digest, NOW).await, None);
    change(&db, account(10, Some(1), "robot")).await;
    assert!(shown(digest, NOW).await.is_some());
    let end = async |ended: ServiceAccountKey| {
        let write = db.store.write(move |tx: &mut Tx| tx.end_service_account_key(&ended));
        write.await.unwrap();
    };
    end(ServiceAccountKey { expires_at: Some(NOW), ..key(7, 10) }).await;
    assert_eq!(shown(digest, NOW).await, None, "its key was replaced, and its time is over");
    end(key(7, 10)).await;
    assert!(shown(digest, NOW).await.is_some());
    end(ServiceAccountKey { revoked_at: Some(NOW), ..key(7, 10) }).await;
    assert_eq!(shown(digest, NOW).await, None);
    // The next token takes those along that have expired.
    add_key(&db, key(8, 10)).await;
    add_token(&db, AccessToken { created_at: Timestamp(NOW.0 + 2000), ..token(8, Sha256::of(b"u")) }).await;
    assert_eq!(db.snapshot().await["access_tokens"].len(), 1);
}

async fn an_account_takes_everything_along_that_it_signs_in_with(db: TestDatabase) {
    accounts(&db).await;
    add_api_key(&db, api_key(100, 10), Sha256::of(b"a")).await;
    add_key(&db, key(7, 10)).await;
    let token = AccessToken {
        digest: Sha256::of(b"t"),
        key: KeyId::new([7; 20]),
        scopes: AccessScopes::of(None),
        created_at: NOW,
        expires_at: Timestamp(NOW.0 + 1000),
    };
    add_token(&db, token).await;
    let id = AccountId::new(10).unwrap();
    let delete = || db.store.write(move |tx: &mut Tx| tx.delete_account(id));
    delete().await.unwrap();
    let left = db.snapshot().await;
    for table in ["api_keys", "service_account_keys", "access_tokens"] {
        assert_eq!(left[table], [""; 0], "{table}");
    }
    assert_eq!(left["accounts"].len(), 3);
    assert!(matches!(delete().await, Err(StoreError::Touched { expected: 1, touched: 0, .. })));
}

async fn only_keys_in_force_sign(db: TestDatabase) {
    accounts(&db).await;
    add_key(&db, key(7, 20)).await;
    add_key(&db, ServiceAccountKey { expires_at: Some(Timestamp(NOW.0 + 5)), ..key(8, 20) }).await;
    add_key(&db, key(9, 10)).await;
    let email = "robot@2.unbox.invalid";
    let signing = async |email: &'static str, key: Option<KeyId>, now| {
        let found = db.read(move |reader| reader.signing_accounts(email, key.as_ref(), now)).await;
        let mut keys: Vec<String> = found.iter().map(|one| one.key.id.as_str()[..2].to_owned()).collect();
        assert!(found.iter().all(|one| one.key.account == one.principal.account));
        keys.sort();
        keys
    };
    assert_eq!(signing(email, None, NOW).await, ["07", "08"]);
    assert_eq!(signing(email, None, Timestamp(NOW.0 + 5)).await, ["07"]);
    assert_eq!(signing(email, Some(KeyId::new([8; 20])), NOW).await, ["08"]);
    assert_eq!(signing(email, Some(KeyId::new([9; 20])), NOW).await, [""; 0], "another account's");
    assert_eq!(signing("robot@3.unbox.invalid", None, NOW).await, [""; 0]);
    change(&db, Account { disabled_at: Some(NOW), ..account(20, Some(2), "robot") }).await;
    assert_eq!(signing(email, None, NOW).await, [""; 0]);
}

async fn credentials_in_force_are_counted(db: TestDatabase) {
    accounts(&db).await;
    let id = AccountId::new(10).unwrap();
    add_api_key(&db, api_key(100, 10), Sha256::of(b"a")).await;
    add_api_key(&db, ApiKey { expires_at: Some(NOW), ..api_key(101, 10) }, Sha256::of(b"b")).await;
    add_api_key(&db, api_key(102, 11), Sha256::of(b"c")).await;
    add_key(&db, key(7, 10)).await;
    add_key(&db, ServiceAccountKey { expires_at: Some(NOW), ..key(8, 10) }).await;
    assert_eq!(db.read(move |reader| reader.count_api_keys(id, NOW)).await, 1);
    assert_eq!(db.read(move |reader| reader.count_service_account_keys(id, NOW)).await, 1);
}

battery!(
    an_address_is_unique_within_a_company,
    a_company_sees_only_its_own_accounts_and_keys,
    only_owners_that_can_act_are_counted,
    an_api_key_opens_something_until_it_ends,
    the_use_of_an_api_key_is_noted_once_an_hour,
    an_access_token_goes_with_its_key_its_account_and_its_time,
    an_account_takes_everything_along_that_it_signs_in_with,
    only_keys_in_force_sign,
    credentials_in_force_are_counted,
);
