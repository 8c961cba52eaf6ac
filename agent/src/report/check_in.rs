//! The message of a check-in, and the meaning of its answer.

use super::Enrolled;
use crate::{AGENT_VERSION, handshake::CertificateChain, ledger::Ledger};
use unbox_common::{
    bytes::Nonce,
    protocol::latest::{CheckIn, Command, Grant, News},
    timestamp::Timestamp,
};

/// The state of the device at a check-in.
#[derive(Debug, Clone, Copy)]
pub struct Standing<'a> {
    /// The current enrollment.
    pub enrolled: &'a Enrolled,
    /// Its certificate.
    pub certificate: &'a CertificateChain,
    /// The ledger, with the payload in force and the one that failed.
    pub ledger: &'a Ledger,
    /// True if its DPC is healthy.
    pub healthy: bool,
    /// Version of the signing root in force.
    pub root_version: u64,
}

/// Makes the message.
#[must_use]
pub fn check_in(standing: &Standing<'_>, nonce: Nonce, now: Timestamp) -> CheckIn {
    let refused = standing.enrolled.refused.as_ref();
    let refused_here = refused.filter(|one| one.agent_version == AGENT_VERSION).map(|one| one.version);
    CheckIn {
        generation: standing.enrolled.generation,
        agent_version: AGENT_VERSION.to_owned(),
        installed: standing.ledger.installed_payload().cloned(),
        failed_version: standing.ledger.unwanted_version().max(refused_here),
        healthy: standing.healthy,
        nonce,
        root_version: standing.root_version,
        renew_certificate: standing.certificate.needs_renewal(now),
    }
}

/// The device's reaction to the news, apart from storing owner and time of the next check-in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NextAction {
    /// Do nothing until the next check-in.
    Rest,
    /// Enroll again, from the first message on.
    EnrollAgain,
    /// Verify and install this grant: the current enrollment with a newer payload.
    Install(Box<Grant>),
}

/// Decides on the news. A request to enroll again comes first: it brings its own payload.
#[must_use]
pub fn next_action(news: &News, enrolled: &Enrolled) -> NextAction {
    if news.commands.contains(&Command::ReEnroll) {
        return NextAction::EnrollAgain;
    }
    match &news.payload {
        None => NextAction::Rest,
        Some(payload) => NextAction::Install(Box::new(Grant {
            device_id: enrolled.device_id,
            generation: enrolled.generation,
            certificate_chain: enrolled.certificate_chain.clone(),
            owner: news.owner.clone(),
            payload: payload.clone(),
            roots: news.roots.clone(),
            server_time: news.server_time,
            check_in_after_s: news.check_in_after_s,
        })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        entropy::Entropy,
        handshake::{DeviceKey, certificate_of},
        ledger::Refused,
    };
    use std::time::Duration;
    use unbox_common::bytes::FixedBytes;

    const NOW: Timestamp = Timestamp::from_secs(1_795_219_200);

    fn enrolled() -> Enrolled {
        let grant = include_str!("../../../common/tests/golden/v1/grant.json");
        Enrolled::from_grant(&serde_json::from_str(grant).unwrap(), NOW)
    }

    fn news() -> News {
        serde_json::from_str(include_str!("../../../common/tests/golden/v1/news.json")).unwrap()
    }

    #[test]
    fn enrolling_again_comes_before_a_payload() {
        let mut news = news();
        assert_eq!(next_action(&news, &enrolled()), NextAction::EnrollAgain);
        news.commands = vec![Command::Unknown];
        let NextAction::Install(grant) = next_action(&news, &enrolled()) else {
            panic!("there is a payload");
        };
        assert_eq!((grant.device_id, grant.generation), (enrolled().device_id, enrolled().generation));
        assert_eq!(Some(grant.payload), news.payload);
        news.payload = None;
        assert_eq!(next_action(&news, &enrolled()), NextAction::Rest);
    }

    #[test]
    fn a_check_in_says_what_failed_and_asks_for_a_certificate_in_time() {
        let ledger = include_bytes!("../../tests/fixtures/ledger/v1-rolled-back.json");
        let ledger = Ledger::parse(ledger).unwrap();
        let key = DeviceKey::generate(&Entropy::system()).unwrap();
        let day = Duration::from_hours(24);
        let chain = [certificate_of(&key, NOW, NOW.plus(90 * day))];
        let certificate = CertificateChain::parse(&chain, key.public()).unwrap();
        let standing = Standing {
            enrolled: &enrolled(),
            certificate: &certificate,
            ledger: &ledger,
            healthy: true,
            root_version: 2,
        };
        let nonce = FixedBytes([5; 32]);
        let message = check_in(&standing, nonce, NOW);
        assert_eq!(message.failed_version, Some(1_795_219_200_001));
        assert_eq!(message.installed.unwrap().version, 1_795_219_200_000);
        assert!(!message.renew_certificate);
        assert!(check_in(&standing, nonce, NOW.plus(70 * day)).renew_certificate);
        for (agent_version, expected) in [(AGENT_VERSION, 1_795_219_200_002), ("0.0.9", 1_795_219_200_001)] {
            let refused = Refused {
                generation: enrolled().generation,
                version: 1_795_219_200_002,
                kind: "payload_policy".to_owned(),
                detail: String::new(),
                agent_version: agent_version.to_owned(),
            };
            let enrolled = Enrolled { refused: Some(refused), ..enrolled() };
            let standing = Standing { enrolled: &enrolled, ..standing };
            assert_eq!(check_in(&standing, nonce, NOW).failed_version, Some(expected), "{agent_version}");
        }
    }
}
