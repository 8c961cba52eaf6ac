//! The accounts of an organisation's API users, and their keys. Secrets are answered once, when they are
//! made.

use crate::route::api::wire::{enums::wire_enum, message::message};
use std::time::Duration;
use unbox_common::{
    ids::{AccountId, ApiKeyId},
    secret::Secret,
    timestamp::Timestamp,
};

wire_enum! {
    /// The role of an account: its power over the things that its organisation may see.
    pub enum Role {
        /// Not specified.
        Unspecified = 0 "ROLE_UNSPECIFIED",
        /// Look.
        Viewer = 1 "ROLE_VIEWER",
        /// Change everything but accounts and their credentials.
        Admin = 2 "ROLE_ADMIN",
        /// Everything.
        Owner = 3 "ROLE_OWNER",
        /// Look devices up, register them and see registrations, as a factory's test station does,
        /// and nothing else.
        Station = 4 "ROLE_STATION",
    }
}

wire_enum! {
    /// The state of an account.
    pub enum AccountState {
        /// Not specified.
        Unspecified = 0 "ACCOUNT_STATE_UNSPECIFIED",
        /// It can sign in.
        Active = 1 "ACCOUNT_STATE_ACTIVE",
        /// It cannot sign in: its credentials open nothing.
        Disabled = 2 "ACCOUNT_STATE_DISABLED",
    }
}

wire_enum! {
    /// The state of a key.
    pub enum KeyState {
        /// Not specified.
        Unspecified = 0 "KEY_STATE_UNSPECIFIED",
        /// It is good, unless its account is disabled.
        Active = 1 "KEY_STATE_ACTIVE",
        /// Its time is over.
        Expired = 2 "KEY_STATE_EXPIRED",
        /// It was revoked.
        Revoked = 3 "KEY_STATE_REVOKED",
    }
}

message! {
    /// A person who may use the API for an organisation.
    pub struct User {
        /// Its name: `organisations/{organisation}/users/{user}`.
        name: String = "name", OUTPUT;
        /// Its id.
        user_id: Option<AccountId> = "userId", OUTPUT;
        /// The person's e-mail address. It never changes.
        email: String = "email", REQUIRED;
        /// The name that people use; the e-mail address if absent.
        display_name: String = "displayName";
        /// The role of the person.
        role: Role = "role", REQUIRED;
        /// The state of the account. A new user can sign in.
        state: AccountState = "state";
        /// The time of its creation.
        create_time: Option<Timestamp> = "createTime", OUTPUT;
        /// The time from which it is disabled.
        disable_time: Option<Timestamp> = "disableTime", OUTPUT;
    }
}

message! {
    /// The people of an organisation.
    pub struct ListUsersResponse {
        /// The people.
        users: Vec<User> = "users";
        /// The start of the next page; absent on the last one.
        next_page_token: String = "nextPageToken";
    }
}

message! {
    /// A program that may use the API for an organisation.
    pub struct ServiceAccount {
        /// Its name: `organisations/{organisation}/serviceAccounts/{serviceAccount}`.
        name: String = "name", OUTPUT;
        /// Its id.
        service_account_id: Option<AccountId> = "serviceAccountId", OUTPUT;
        /// Its name: lower-case letters, digits and hyphens. It becomes part of its address, and
        /// never changes.
        display_name: String = "displayName", REQUIRED;
        /// The address by which it signs in.
        email: String = "email", OUTPUT;
        /// The role of the program.
        role: Role = "role", REQUIRED;
        /// The state of the account. A new one can sign in.
        state: AccountState = "state";
        /// The time of its creation.
        create_time: Option<Timestamp> = "createTime", OUTPUT;
        /// The time from which it is disabled.
        disable_time: Option<Timestamp> = "disableTime", OUTPUT;
    }
}

message! {
    /// The programs of an organisation.
    pub struct ListServiceAccountsResponse {
        /// The programs.
        service_accounts: Vec<ServiceAccount> = "serviceAccounts";
        /// The start of the next page; absent on the last one.
        next_page_token: String = "nextPageToken";
    }
}

message! {
    /// A key with which a service account signs in: its public half is kept here.
    pub struct ServiceAccountKey {
        /// Its name: `organisations/{organisation}/serviceAccounts/{serviceAccount}/keys/{key}`.
        name: String = "name", OUTPUT;
        /// Its id, `kid` in the assertions that it signs.
        key_id: String = "keyId", OUTPUT;
        /// The public half of a key that its owner made, PEM. Without it the server makes a key.
        public_key: String = "publicKey", INPUT;
        /// The address of this server for clients, such as `https://enroll.example.com`, for `token_uri` of the
        /// key file. If absent, the address that this request was sent to.
        base_url: String = "baseUrl", INPUT;
        /// The key file that Google's client libraries read: JSON, base64. It is answered once, when the
        /// server made the key.
        private_key_data: Secret = "privateKeyData", OUTPUT;
        /// The state of the key.
        state: KeyState = "state", OUTPUT;
        /// The time when it was made, or handed in.
        create_time: Option<Timestamp> = "createTime", OUTPUT;
        /// The time of its expiry; never if absent.
        expire_time: Option<Timestamp> = "expireTime";
        /// The time of its revocation.
        revoke_time: Option<Timestamp> = "revokeTime", OUTPUT;
    }
}

message! {
    /// The keys of a service account, revoked ones too.
    pub struct ListServiceAccountKeysResponse {
        /// The keys.
        keys: Vec<ServiceAccountKey> = "keys";
    }
}

message! {
    /// Replaces a key of a service account by one that the server makes, with the same lifetime.
    pub struct RotateServiceAccountKeyRequest {
        /// The key that is replaced: its `keyId`.
        key_id: String = "keyId", REQUIRED;
        /// The time for which the old key stays good, for programs to change over: at most 30 days. Without
        /// it, that key is revoked at once.
        overlap: Option<Duration> = "overlap";
        /// The address of this server for clients; if absent, the one that this request was sent to.
        base_url: String = "baseUrl";
    }
}

message! {
    /// An API key of an account.
    pub struct ApiKey {
        /// Its name: `organisations/{organisation}/apiKeys/{apiKey}`.
        name: String = "name", OUTPUT;
        /// Its id.
        api_key_id: Option<ApiKeyId> = "apiKeyId", OUTPUT;
        /// The account that signs in with it: `organisations/{organisation}/users/{user}` or
        /// `organisations/{organisation}/serviceAccounts/{serviceAccount}`.
        account: String = "account", REQUIRED;
        /// The name that people use.
        display_name: String = "displayName", REQUIRED;
        /// The first characters of the secret, to tell keys apart.
        key_prefix: String = "keyPrefix", OUTPUT;
        /// The secret. It is answered once, when the key is made.
        key_string: Secret = "keyString", OUTPUT;
        /// The state of the key.
        state: KeyState = "state", OUTPUT;
        /// The time of its creation.
        create_time: Option<Timestamp> = "createTime", OUTPUT;
        /// The time of its expiry; never if absent.
        expire_time: Option<Timestamp> = "expireTime";
        /// The time of its revocation.
        revoke_time: Option<Timestamp> = "revokeTime", OUTPUT;
        /// The time of its last use, to the hour.
        last_use_time: Option<Timestamp> = "lastUseTime", OUTPUT;
    }
}

message! {
    /// The API keys of an organisation, revoked ones too.
    pub struct ListApiKeysResponse {
        /// The keys.
        api_keys: Vec<ApiKey> = "apiKeys";
        /// The start of the next page; absent on the last one.
        next_page_token: String = "nextPageToken";
    }
}

message! {
    /// Replaces an API key by a new one of the same name and lifetime.
    pub struct RotateApiKeyRequest {
        /// The key that is replaced.
        api_key_id: Option<ApiKeyId> = "apiKeyId", REQUIRED;
        /// The time for which the old key stays good, for programs to change over: at most 30 days. Without
        /// it, that key is revoked at once.
        overlap: Option<Duration> = "overlap";
    }
}
